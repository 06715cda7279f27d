//! What is in memory against the test kit's reference models, on random schedules and the paused clock.
#![allow(clippy::panic, reason = "helpers of tests")]

use std::sync::Arc;

use infra_core::cache::Cache;
use infra_memory::{MemoryCache, MemoryCoordinator, MemoryQueue};
use infra_testkit::conformance::{Outcome, TimeControl};
use infra_testkit::models::{self, ModelOptions};

/// The seed is printed with a failure; it is another one each time.
fn options() -> ModelOptions {
    ModelOptions::new(fastrand::u64(..))
}

fn cache() -> Arc<dyn Cache> {
    Arc::new(MemoryCache::new())
}

fn pass(outcome: Outcome) {
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn cache_strings() {
    pass(models::cache_strings(cache(), "m", TimeControl::Virtual, options()).await);
}

#[tokio::test(start_paused = true)]
async fn cache_hashes() {
    pass(models::cache_hashes(cache(), "m", TimeControl::Virtual, options()).await);
}

#[tokio::test(start_paused = true)]
async fn cache_sets() {
    pass(models::cache_sets(cache(), "m", TimeControl::Virtual, options()).await);
}

#[tokio::test(start_paused = true)]
async fn cache_sorted_sets() {
    pass(models::cache_sorted_sets(cache(), "m", TimeControl::Virtual, options()).await);
}

#[tokio::test(start_paused = true)]
async fn cache_batches() {
    pass(models::cache_batches(cache(), "m", TimeControl::Virtual, options()).await);
}

#[tokio::test(start_paused = true)]
async fn config_center() {
    let center = Arc::new(MemoryCoordinator::new());
    pass(models::config_center(center, "m", TimeControl::Virtual, options()).await);
}

#[tokio::test(start_paused = true)]
async fn queue() {
    let queue = Arc::new(MemoryQueue::new());
    pass(models::queue(queue, "m", TimeControl::Virtual, options()).await);
}
