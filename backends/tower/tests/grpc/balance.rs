//! Who gets how many requests: weights, zones, load.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use infra_core::coordination::Registry;
use infra_memory::MemoryCoordinator;

use super::node::{Load, Node, SERVICE, TTL, ask, channels, eventually_answered_by, options};

#[tokio::test]
async fn requests_are_shared_by_weight_and_weight_zero_takes_none() {
    let registry = MemoryCoordinator::new();
    let nodes = ["light", "heavy", "none"].map(Node::start);
    let mut registrations = Vec::new();
    for (node, weight) in nodes.iter().zip([1, 3, 0]) {
        let instance = node.instance().with_weight(weight);
        registrations.push(registry.register(instance, TTL).await.unwrap());
    }
    let channel = channels(&registry, options()).channel(SERVICE).await.unwrap();
    assert!(eventually_answered_by(&channel, &["light", "heavy"]).await);
    // Both are connected once both have answered.
    let mut seen = BTreeMap::new();
    while seen.len() < 2 {
        *seen.entry(ask(&channel).await.unwrap()).or_insert(0) += 1;
    }

    const REQUESTS: u32 = 4_000;
    let mut answers = BTreeMap::new();
    for _ in 0..REQUESTS {
        *answers.entry(ask(&channel).await.unwrap()).or_insert(0_u32) += 1;
    }
    // One request at a time: a draw with probability 3/4. Six standard deviations are 165.
    let heavy = answers["heavy"];
    assert!((3_000 - 165..=3_000 + 165).contains(&heavy), "{answers:?}");
    assert_eq!(heavy + answers["light"], REQUESTS, "{answers:?}");
}

#[tokio::test]
async fn under_load_a_slow_instance_gets_fewer_requests() {
    let registry = MemoryCoordinator::new();
    let fast = Node::start_slow("fast", Duration::from_millis(1));
    let slow = Node::start_slow("slow", Duration::from_millis(50));
    let _registered = (fast.register(&registry).await, slow.register(&registry).await);
    let channel = channels(&registry, options()).channel(SERVICE).await.unwrap();

    let load = Load::start(&channel, 8);
    load.passes(600).await;
    assert!(load.stop().await.is_empty());
    // A draw that knew nothing of load would give each half of them.
    let (by_fast, by_slow) = (
        fast.begun.load(Ordering::Relaxed),
        slow.begun.load(Ordering::Relaxed),
    );
    assert!(by_fast > 3 * by_slow, "{by_fast} and {by_slow}");
}

#[tokio::test]
async fn the_own_zone_is_preferred_and_others_stand_in_while_it_has_nobody() {
    let registry = MemoryCoordinator::new();
    let mut near = Node::start("near");
    let far = Node::start("far");
    let nowhere = Node::start("nowhere");
    let near_registered = registry
        .register(near.instance().with_zone("a"), TTL)
        .await
        .unwrap();
    let _far = registry
        .register(far.instance().with_zone("b"), TTL)
        .await
        .unwrap();
    let _nowhere = nowhere.register(&registry).await;
    let channels = channels(&registry, options().with_zone("a"));
    let channel = channels.channel(SERVICE).await.unwrap();
    for _ in 0..50 {
        assert_eq!(ask(&channel).await.unwrap(), "near");
    }

    // It cannot be reached, though it is registered.
    near.crash();
    assert!(eventually_answered_by(&channel, &["far", "nowhere"]).await);

    // It is back.
    let near = Node::start_at("near", near.address);
    assert!(eventually_answered_by(&channel, &["near"]).await);

    // It leaves.
    near_registered.deregister().await.unwrap();
    assert!(eventually_answered_by(&channel, &["far", "nowhere"]).await);
    near.stop().await;
}
