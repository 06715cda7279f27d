//! What lives in the process: the paused clock drives it.

use std::sync::Arc;

use infra_memory::{MemoryCache, MemoryCoordinator};
use infra_testkit::cancellation::{Case, Ground, Route, cache, every_case, locks};
use infra_testkit::conformance::{Failure, TimeControl};

/// Plays every case, and shows that each that goes through the stack was stopped in it.
async fn play<G: Ground>(cases: Vec<Case<G>>, make: impl AsyncFn(Route) -> Result<G, Failure>) {
    let sweeps = match every_case(&cases, TimeControl::Virtual, make).await {
        Ok(sweeps) => sweeps,
        Err(failure) => panic!("{failure}"),
    };
    assert_eq!(sweeps.len(), cases.len());
    for sweep in sweeps {
        // Each call waits before its first attempt, between the two, and before the second.
        let least = if sweep.labels.is_empty() { 0 } else { 3 };
        assert!(sweep.points >= least, "{sweep:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache() {
    play(cache::cases(), async |route| {
        cache::CacheGround::new(Arc::new(MemoryCache::new()), route).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn locks_of_a_coordinator() {
    play(locks::cases(), async |route| {
        Ok(locks::LocksGround::new(Arc::new(MemoryCoordinator::new()), route))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn locks_of_a_cache() {
    play(locks::cases(), async |route| {
        Ok(locks::LocksGround::new(Arc::new(MemoryCache::new()), route))
    })
    .await;
}
