//! The atomics and locks of what threads share without waiting for each other: ids, breakers, budgets, buckets.
//!
//! They are those of `std`. In the unit tests under `--cfg interleave`, which `cargo xtask interleave` sets, they are those of
//! loom, which runs a test once for every order in which its threads can get ahead of each other, and for every value that
//! the memory model lets a load see.

#[cfg(not(all(test, interleave)))]
pub(crate) use arc_swap::ArcSwap;
#[cfg(not(all(test, interleave)))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

#[cfg(all(test, interleave))]
pub(crate) use self::explore::ArcSwap;

#[cfg(all(test, interleave))]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};

#[cfg(all(test, interleave))]
pub(crate) mod explore {
    //! Running a test in every interleaving.

    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::atomic::{AtomicUsize, Ordering};

    /// The one of `arc_swap`, whose ordering loom would not see: who loads a value sees all that was written before it was put
    /// there.
    #[derive(Debug)]
    pub(crate) struct ArcSwap<T> {
        value: arc_swap::ArcSwap<T>,
        order: AtomicUsize,
    }

    impl<T> ArcSwap<T> {
        pub(crate) fn from_pointee(value: T) -> Self {
            Self {
                value: arc_swap::ArcSwap::from_pointee(value),
                order: AtomicUsize::new(0),
            }
        }

        // No thread can come between the two steps of each function: only loom's own operations let another one run.
        pub(crate) fn load(&self) -> Arc<T> {
            self.order.fetch_add(0, Ordering::AcqRel);
            self.value.load_full()
        }

        pub(crate) fn rcu(&self, change: impl FnOnce(&Arc<T>) -> T) {
            let next = change(&self.load());
            self.order.fetch_add(1, Ordering::AcqRel);
            self.value.store(Arc::new(next));
        }
    }

    /// How often a thread is interrupted at most, unless `LOOM_MAX_PREEMPTIONS` says otherwise. Nearly every fault that is
    /// known of shows with two.
    const PREEMPTIONS: usize = 2;

    /// Runs `test` in every interleaving, on tokio's paused clock.
    pub(crate) fn every_interleaving(test: impl Fn() + Send + Sync + 'static) {
        with_preemptions(PREEMPTIONS, test);
    }

    /// The same with so many interruptions of each thread, for tests of many steps.
    pub(crate) fn with_preemptions(most: usize, test: impl Fn() + Send + Sync + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        // Loom's threads are coroutines of this thread, so that they all see this clock.
        let _paused = runtime.enter();
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(most));
        builder.check(test);
    }

    /// Asserts that some interleaving makes `test` panic: it is about something that is wrong on purpose.
    pub(crate) fn some_interleaving_fails(test: impl Fn() + Send + Sync + 'static) {
        let outcome = catch_unwind(AssertUnwindSafe(|| every_interleaving(test)));
        assert!(outcome.is_err(), "the fault was not found");
    }

    /// Runs closures as threads to their ends and gives their results in order.
    pub(crate) fn race<R: 'static>(racers: Vec<Box<dyn FnOnce() -> R + Send>>) -> Vec<R> {
        let threads: Vec<_> = racers.into_iter().map(loom::thread::spawn).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    }
}
