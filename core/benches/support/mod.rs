//! Paired measurements for benches with `harness = false`: cases run in turns, so that what slows the machine down slows
//! all of them down. Another bench includes this file with `#[path = "support/mod.rs"] mod support;`.

#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each bench uses what it needs, and prints"
)]

use std::time::{Duration, Instant};

/// One thing to measure: a name, and code that does it so many times.
pub(crate) struct Case<'a> {
    name: &'a str,
    run: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> Case<'a> {
    /// A case that does one operation per call of `operation`.
    pub(crate) fn new<R>(name: &'a str, mut operation: impl FnMut() -> R + 'a) -> Self {
        Self {
            name,
            run: Box::new(move |times| {
                for _ in 0..times {
                    std::hint::black_box(operation());
                }
            }),
        }
    }
}

/// What was measured of one case.
pub(crate) struct Measured {
    pub(crate) name: String,
    /// The fastest round, per operation.
    pub(crate) best: f64,
    /// The median of all rounds, per operation.
    pub(crate) median: f64,
    /// Allocations per operation.
    pub(crate) allocations: f64,
    /// Bytes allocated per operation.
    pub(crate) bytes: f64,
}

/// How many rounds are run, and how long each case runs in one.
const ROUNDS: usize = 41;
const ROUND: Duration = Duration::from_millis(5);

/// Measures `cases` in turns and prints a table; ratios and differences are to the first one.
pub(crate) fn compare(title: &str, mut cases: Vec<Case<'_>>) -> Vec<Measured> {
    let times: Vec<u64> = cases.iter_mut().map(calibrate).collect();
    let mut rounds: Vec<Vec<f64>> = cases.iter().map(|_| Vec::with_capacity(ROUNDS)).collect();
    for round in 0..ROUNDS {
        // Every other round runs backwards, so that no case always follows the same one.
        let order: Vec<usize> = if round % 2 == 0 {
            (0..cases.len()).collect()
        } else {
            (0..cases.len()).rev().collect()
        };
        for index in order {
            let begin = Instant::now();
            (cases[index].run)(times[index]);
            rounds[index].push(begin.elapsed().as_nanos() as f64 / times[index] as f64);
        }
    }
    let measured: Vec<Measured> = cases
        .iter_mut()
        .zip(&mut rounds)
        .map(|(case, nanos)| {
            nanos.sort_by(f64::total_cmp);
            let (allocations, bytes) = allocations(|times| (case.run)(times));
            Measured {
                name: case.name.to_owned(),
                best: nanos[0],
                median: nanos[nanos.len() / 2],
                allocations,
                bytes,
            }
        })
        .collect();
    print(title, &measured);
    measured
}

/// Allocations and bytes per operation.
pub(crate) fn allocations(mut run: impl FnMut(u64)) -> (f64, f64) {
    const TIMES: u64 = 1000;
    let counted = allocation_counter::measure(|| run(TIMES));
    (
        counted.count_total as f64 / TIMES as f64,
        counted.bytes_total as f64 / TIMES as f64,
    )
}

/// How many operations fill a round.
fn calibrate(case: &mut Case<'_>) -> u64 {
    let mut times = 16;
    loop {
        let begin = Instant::now();
        (case.run)(times);
        let elapsed = begin.elapsed();
        if elapsed >= ROUND / 4 {
            let scale = ROUND.as_secs_f64() / elapsed.as_secs_f64();
            return ((times as f64 * scale) as u64).max(1);
        }
        times *= 2;
    }
}

fn print(title: &str, measured: &[Measured]) {
    println!("\n{title}");
    println!(
        "{:<44} {:>10} {:>10} {:>8} {:>10} {:>8} {:>8}",
        "", "median ns", "best ns", "ratio", "more ns", "allocs", "bytes"
    );
    let Some(first) = measured.first() else { return };
    for case in measured {
        println!(
            "{:<44} {:>10.1} {:>10.1} {:>7.2}x {:>+10.1} {:>8.2} {:>8.0}",
            case.name,
            case.median,
            case.best,
            case.median / first.median,
            case.median - first.median,
            case.allocations,
            case.bytes
        );
    }
}
