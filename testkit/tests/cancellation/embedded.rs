//! What lives in the process: the paused clock drives it.

use std::sync::Arc;

use infra_core::rate_limit::LocalBuckets;
use infra_memory::{MemoryCache, MemoryCoordinator, MemoryOnceStore, MemoryQueue};
use infra_testkit::cancellation::{
    Case, Ground, Route, cache, coordination, loading, local, locks, once, queue, rate_limit,
};
use infra_testkit::conformance::{Failure, TimeControl};

/// Plays every case on the paused clock.
async fn play<G: Ground>(cases: Vec<Case<G>>, make: impl AsyncFn(Route) -> Result<G, Failure>) {
    crate::play(&cases, TimeControl::Virtual, make).await;
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

#[tokio::test(start_paused = true)]
async fn coordination() {
    play(coordination::cases(), async |route| {
        let server = MemoryCoordinator::new();
        let watches = server.connect();
        let count = Box::new(move || {
            let (registry, configuration) = watches.faults().open_watches();
            Some(registry + configuration)
        });
        coordination::CoordinationGround::new(Arc::new(server), route, count).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn queue() {
    play(queue::cases(), async |route| {
        queue::QueueGround::new(Arc::new(MemoryQueue::new()), route).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn once() {
    play(once::cases(), async |route| {
        once::OnceGround::new(Arc::new(MemoryOnceStore::new()), route).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn rate_limit() {
    play(rate_limit::cases(), async |route| {
        rate_limit::RateLimitGround::new(Arc::new(LocalBuckets::new(1_000)), route)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn loading() {
    play(loading::cases(), async |route| {
        loading::LoadingGround::new(Arc::new(MemoryCache::new()), route).await
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn local() {
    play(local::cases(), async |route| local::LocalGround::new(route).await).await;
}
