//! The backends in memory, called by many threads: linearizable when they are well and when answers are lost, and refused when two
//! servers pass for one.

use std::sync::Arc;

use infra_core::cache::KeyValue;
use infra_core::coordination::{ConfigCenter, InstanceIds, Locks};
use infra_core::intercept::{Fault, Faults, Stack};
use infra_memory::{MemoryCache, MemoryCoordinator};
use infra_testkit::conformance::Outcome;
use infra_testkit::linearizability::{self, WorkloadOptions};

/// The seed is printed with a failure; it is another one each time.
fn options() -> WorkloadOptions {
    WorkloadOptions::new(fastrand::u64(..u64::MAX / 2))
}

fn pass(outcome: Outcome) {
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

fn violated(outcome: Outcome) {
    let failure = outcome.expect_err("two servers are not one");
    assert!(failure.message().contains("are not linearizable"), "{failure}");
}

/// One answer of twenty is lost.
fn lossy() -> Stack {
    let faults = Faults::new();
    faults.by_chance(0.05, Fault::DropReply);
    Stack::new().with(faults)
}

fn caches(one: &MemoryCache, other: &MemoryCache) -> [Arc<dyn KeyValue>; 2] {
    [Arc::new(one.clone()), Arc::new(other.clone())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn caches_are_linearizable() {
    let cache = MemoryCache::new();
    let clients = caches(&cache, &cache.connect());
    pass(linearizability::key_value(&clients, "k", options().with_calls(8_000)).await);
    let lossy = lossy();
    let clients = clients.map(|client| -> Arc<dyn KeyValue> { lossy.wrap(client) });
    pass(linearizability::key_value(&clients, "lossy", options().with_keys(64)).await);
    let clients = caches(&MemoryCache::new(), &MemoryCache::new());
    violated(linearizability::key_value(&clients, "k", options()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cache_that_adds_twice_is_refused() {
    let faults = Faults::new();
    faults.always("cache.incr_by", Fault::Duplicate);
    let cache: Arc<dyn KeyValue> = Arc::new(MemoryCache::new());
    let clients: [Arc<dyn KeyValue>; 1] = [Stack::new().with(faults).wrap(cache)];
    violated(linearizability::key_value(&clients, "k", options()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn configuration_centres_are_linearizable() {
    let clients = |one: &MemoryCoordinator, other: &MemoryCoordinator| -> [Arc<dyn ConfigCenter>; 2] {
        [Arc::new(one.clone()), Arc::new(other.clone())]
    };
    let server = MemoryCoordinator::new();
    let well = clients(&server, &server.connect());
    pass(linearizability::config_center(&well, "k", options().with_calls(8_000)).await);
    let lossy = lossy();
    let well = well.map(|client| -> Arc<dyn ConfigCenter> { lossy.wrap(client) });
    pass(linearizability::config_center(&well, "lossy", options().with_keys(64)).await);
    let two = clients(&MemoryCoordinator::new(), &MemoryCoordinator::new());
    violated(linearizability::config_center(&two, "k", options()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn locks_are_linearizable() {
    let clients = |one: &MemoryCoordinator, other: &MemoryCoordinator| -> [Arc<dyn Locks>; 2] {
        [Arc::new(one.clone()), Arc::new(other.clone())]
    };
    let server = MemoryCoordinator::new();
    let well = clients(&server, &server.connect());
    pass(linearizability::locks(&well, "k", options().with_calls(6_000)).await);
    let lossy = lossy();
    let well = well.map(|client| -> Arc<dyn Locks> { lossy.wrap(client) });
    pass(linearizability::locks(&well, "lossy", options().with_keys(32)).await);
    let two = clients(&MemoryCoordinator::new(), &MemoryCoordinator::new());
    violated(linearizability::locks(&two, "k", options()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn instance_ids_are_linearizable() {
    let clients = |one: &MemoryCoordinator, other: &MemoryCoordinator| -> [Arc<dyn InstanceIds>; 2] {
        [Arc::new(one.clone()), Arc::new(other.clone())]
    };
    let server = MemoryCoordinator::new();
    let well = clients(&server, &server.connect());
    pass(linearizability::instance_ids(&well, "k", options()).await);
    let lossy = lossy();
    let well = well.map(|client| -> Arc<dyn InstanceIds> { lossy.wrap(client) });
    pass(linearizability::instance_ids(&well, "lossy", options()).await);
    let two = clients(&MemoryCoordinator::new(), &MemoryCoordinator::new());
    violated(linearizability::instance_ids(&two, "k", options()).await);
}
