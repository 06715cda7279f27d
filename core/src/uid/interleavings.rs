//! Snowflake ids in every interleaving of their callers: none twice, and growing for each caller.

use std::sync::Arc;
use std::time::Duration;

use super::clock::Clock;
use super::config::UidConfig;
use super::generator::Generator;
use super::layout::Tick;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::explore::{every_interleaving, race, some_interleaving_fails};

/// A clock that stands at one millisecond; each caller has its own, so that clocks disagree and step back.
#[derive(Debug)]
struct Standing(u64);

impl Clock for Standing {
    fn since_unix_epoch(&self) -> Duration {
        Duration::from_millis(self.0)
    }

    fn pause(&self, _: Duration) {}
}

/// Claims so many ticks at a millisecond; the first of them.
type Claim = dyn Fn(u64, u64) -> u64 + Send + Sync;

/// Three callers with clocks that disagree; each claims and claims again.
fn no_tick_is_given_twice(make: impl Fn() -> Box<Claim>) {
    let claim: Arc<Claim> = make().into();
    let racers = [(20, 1), (21, 3), (20, 2)].map(|(millis, count)| {
        let claim = Arc::clone(&claim);
        Box::new(move || {
            let first = claim(count, millis);
            let second = claim(count, millis - 1);
            assert!(second >= first + count, "a caller's ids grow");
            [first..first + count, second..second + count]
        }) as Box<dyn FnOnce() -> _ + Send>
    });
    let mut given: Vec<u64> = race(racers.into()).into_iter().flatten().flatten().collect();
    let count = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(
        (given.len(), count),
        (12, 12),
        "a tick was given twice: {given:?}"
    );
}

#[test]
fn ids_are_unique_and_grow() {
    every_interleaving(|| {
        no_tick_is_given_twice(|| {
            let config = UidConfig {
                epoch_unix_millis: Some(0),
                borrow_ahead: Duration::from_millis(50),
                ..UidConfig::development()
            };
            let generator = Generator::new(&config);
            Box::new(move |count, millis| {
                generator
                    .claim(count, &Standing(millis))
                    .expect("claimed")
                    .first
                    .0
            })
        });
    });
}

#[test]
fn a_generator_that_looks_first_and_writes_then_is_found_out() {
    some_interleaving_fails(|| {
        no_tick_is_given_twice(|| {
            let last = AtomicU64::new(0);
            Box::new(move |count, millis| {
                let first = (last.load(Ordering::SeqCst) + 1).max(Tick::first_of(millis).0);
                last.store(first + count - 1, Ordering::SeqCst);
                first
            })
        });
    });
}
