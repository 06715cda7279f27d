//! Many label sets, and many threads.

use std::sync::{Arc, Barrier};
use std::thread;

use infra_core::telemetry::Label;

use super::ReadableMeter;
use super::series::{SENT, read};
use crate::conformance::{Failure, Harness, Outcome, check, check_eq};

/// The series of all label sets beyond the bound, as OpenTelemetry's metrics SDK names it.
const OVERFLOW: Label<'static> = ("otel.metric.overflow", "true");

/// Label sets that nobody bounded stop growing; what is recorded beyond is counted in one series, and known ones stay themselves.
pub async fn metric_009_label_sets_are_bounded_and_nothing_is_lost(
    harness: &Harness<dyn ReadableMeter>,
) -> Outcome {
    let meter = harness.client().await?;
    let many = meter.max_series() * 3 + 1;
    for number in 0..many {
        meter
            .meter()
            .counter(&SENT, &[("user", &number.to_string())])
            .add(1);
    }
    meter.meter().counter(&SENT, &[("user", "0")]).add(1);
    let sets = meter.label_sets(SENT.name);
    check!(
        sets.len() <= meter.max_series() + 1,
        "{many} label sets made {} series, where {} and one for the rest were promised",
        sets.len(),
        meter.max_series()
    );
    let known: f64 = (0..many)
        .filter_map(|number| meter.value(SENT.name, &[("user", &number.to_string())]))
        .sum();
    let rest = read(&*meter, &SENT, &[OVERFLOW])?;
    check_eq!(known + rest, many as f64 + 1.0, "what all series hold together");
    check_eq!(
        read(&*meter, &SENT, &[("user", "0")])?,
        2.0,
        "a series that was there before the bound was reached"
    );
    Ok(())
}

/// Threads that record into one series through handles of their own lose nothing.
pub async fn metric_010_threads_lose_nothing(harness: &Harness<dyn ReadableMeter>) -> Outcome {
    const THREADS: usize = 4;
    const EACH: u64 = 2_000;
    let meter = harness.client().await?;
    let all_are_bound = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (meter, all_are_bound) = (Arc::clone(&meter), Arc::clone(&all_are_bound));
            thread::spawn(move || {
                let counter = meter.meter().counter(&SENT, &[("topic", "orders")]);
                all_are_bound.wait();
                for _ in 0..EACH {
                    counter.add(1);
                }
            })
        })
        .collect();
    for thread in threads {
        if thread.join().is_err() {
            return Err(Failure::broken("a thread that records panicked"));
        }
    }
    check_eq!(
        read(&*meter, &SENT, &[("topic", "orders")])?,
        (THREADS as u64 * EACH) as f64,
        "what {THREADS} threads counted"
    );
    Ok(())
}
