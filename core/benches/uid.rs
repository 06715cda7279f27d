//! How fast snowflake ids are made, and that none is made twice.
//!
//! The format has 4096 ids per millisecond and instance: 4.096 million per second is its ceiling, not ours. The first table
//! lets ids run ahead of the clock, to show what one costs; the rates below it are real ids by the real clock.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use infra_core::coordination::InstanceIds;
use infra_core::uid::{Clock, SnowflakeIds, SystemClock, UidConfig, UidProvider};
use infra_memory::MemoryCoordinator;
use support::{Case, allocations, compare};

/// The system's clock, read as always, that a bench can run ahead of without waiting.
#[derive(Debug, Default)]
struct Hurried(AtomicU64);

impl Clock for Hurried {
    fn since_unix_epoch(&self) -> Duration {
        SystemClock.since_unix_epoch() + Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn pause(&self, duration: Duration) {
        self.0.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }
}

const IDS: usize = 8_192_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let coordinator = MemoryCoordinator::new();
    let lease = || {
        runtime
            .block_on(coordinator.acquire_instance_id("bench", 0..=1023))
            .expect("a free number")
    };
    let _inside = runtime.enter();
    let ids = |clock: Arc<dyn Clock>| {
        SnowflakeIds::with_clock(lease(), UidConfig::production(), clock).expect("a valid configuration")
    };

    let hurried: Arc<dyn UidProvider> = Arc::new(ids(Arc::new(Hurried::default())));
    compare(
        "one id, without waiting for the clock",
        vec![
            Case::new("reading the system's clock", || SystemClock.since_unix_epoch()),
            Case::new("dyn UidProvider: snowflake", || hurried.snowflake()),
            Case::new("dyn UidProvider: uuid (version 7)", || hurried.uuid()),
        ],
    );

    let real = Arc::new(ids(Arc::new(SystemClock)));
    let (count, bytes) = allocations(|times| {
        for _ in 0..times {
            let _ = std::hint::black_box(real.snowflake());
        }
    });
    println!("\nallocations per id by the real clock: {count} ({bytes} bytes)\n");
    for threads in [1, 8] {
        rate(&real, threads);
    }
}

/// Makes ids on so many threads, counts them per second, and looks for one that was made twice.
fn rate(ids: &Arc<SnowflakeIds>, threads: usize) {
    let begun = Instant::now();
    let working: Vec<_> = (0..threads)
        .map(|_| {
            let ids = Arc::clone(ids);
            std::thread::spawn(move || {
                (0..IDS / threads)
                    .map(|_| ids.snowflake().expect("an id"))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let made: Vec<Vec<i64>> = working
        .into_iter()
        .map(|thread| thread.join().unwrap_or_else(|_| panic!("a thread failed")))
        .collect();
    let elapsed = begun.elapsed();
    let distinct: HashSet<i64> = made.iter().flatten().copied().collect();
    let all: usize = made.iter().map(Vec::len).sum();
    println!(
        "{threads} threads: {all} ids in {elapsed:.2?}: {:.3} million per second of the format's 4.096, {} made twice, increasing per thread: {}",
        all as f64 / elapsed.as_secs_f64() / 1e6,
        all - distinct.len(),
        made.iter().all(|ids| ids.is_sorted_by(|one, next| one < next)),
    );
    assert_eq!(all, distinct.len(), "an id was made twice");
}
