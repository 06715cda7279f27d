//! Restarting a fleet under load, instance by instance: not one request fails.

use std::sync::atomic::Ordering;
use std::time::Duration;

use infra_core::coordination::InstanceState;
use infra_memory::MemoryCoordinator;
use infra_testkit::time::eventually;

use super::node::{Load, Node, SERVICE, SOON, ask, channels, options};

/// How an instance goes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leaving {
    /// It waits until callers have seen that it drains.
    Patiently,
    /// It ends at once, while callers still send requests to it.
    AtOnce,
}

async fn restart_all(leaving: Leaving) {
    let registry = MemoryCoordinator::new();
    let mut fleet = Vec::new();
    for id in ["1", "2", "3"] {
        let node = Node::start_slow(id, Duration::from_millis(5));
        let registration = node.register(&registry).await;
        fleet.push((node, registration));
    }
    let channel = channels(&registry, options()).channel(SERVICE).await.unwrap();
    let load = Load::start(&channel, 8);
    load.passes(200).await;
    for round in 0..3 {
        let (node, mut registration) = fleet.remove(0);
        let id = node.id.clone();
        let successor = Node::start_slow(&format!("{id}-{round}"), Duration::from_millis(5));
        let successor_registered = successor.register(&registry).await;
        registration.set_state(InstanceState::Draining).await.unwrap();
        if leaving == Leaving::Patiently {
            assert!(
                eventually(SOON, async || {
                    let drains = |id: &str| {
                        channel
                            .instances()
                            .iter()
                            .any(|instance| instance.id == id && instance.state == InstanceState::Draining)
                    };
                    drains(&id)
                })
                .await
            );
            load.passes(100).await;
            for _ in 0..20 {
                assert_ne!(ask(&channel).await.unwrap(), id, "it drains");
            }
        }
        node.stop().await;
        registration.deregister().await.unwrap();
        load.passes(100).await;
        fleet.push((successor, successor_registered));
    }
    let failures = load.stop().await;
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test]
async fn a_rolling_restart_fails_no_request() {
    restart_all(Leaving::Patiently).await;
}

#[tokio::test]
async fn instances_that_end_at_once_refuse_requests_unprocessed_and_others_take_them() {
    restart_all(Leaving::AtOnce).await;
}

#[tokio::test]
async fn a_request_that_is_being_answered_is_finished_though_its_instance_drains_and_leaves() {
    let registry = MemoryCoordinator::new();
    let (slow, other) = (
        Node::start_slow("slow", Duration::from_millis(300)),
        Node::start("other"),
    );
    let mut registration = slow.register(&registry).await;
    let channel = channels(&registry, options()).channel(SERVICE).await.unwrap();
    assert_eq!(ask(&channel).await.unwrap(), "slow");
    let _other = other.register(&registry).await;
    let unanswered: Vec<_> = (0..16)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { ask(&channel).await })
        })
        .collect();
    // One was asked before; at least one of these has reached it.
    assert!(eventually(SOON, async || slow.begun.load(Ordering::Relaxed) > 1).await);
    registration.set_state(InstanceState::Draining).await.unwrap();
    registration.deregister().await.unwrap();
    assert!(eventually(SOON, async || channel.instances().len() == 1).await);
    let mut by_slow = 0;
    for request in unanswered {
        by_slow += u32::from(request.await.unwrap().unwrap() == "slow");
    }
    assert!(by_slow > 0, "none of them was being answered");
}
