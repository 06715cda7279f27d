//! A registry that goes away, loses its history, or ends its watches: traffic goes on, and the list is right afterwards.

use infra_core::{Error, ErrorKind};
use infra_memory::MemoryCoordinator;
use infra_testkit::time::eventually;

use super::node::{Load, Node, SERVICE, SOON, ask, channels, eventually_answered_by, options};

#[tokio::test]
async fn while_the_registry_is_away_requests_go_to_the_instances_known_last() {
    let registry = MemoryCoordinator::new();
    let first = Node::start("first");
    let _first = first.register(&registry).await;
    let channels = channels(&registry, options());
    let channel = channels.channel(SERVICE).await.unwrap();
    let load = Load::start(&channel, 4);
    load.passes(100).await;

    registry.faults().go_away();
    registry
        .faults()
        .close_watches(&Error::new(ErrorKind::Unavailable, "the server is gone"));
    load.passes(500).await;
    channels
        .channel(SERVICE)
        .await
        .expect("a known service is not asked for again");

    registry.faults().come_back();
    let second = Node::start("second");
    let _second = second.register(&registry).await;
    assert!(eventually(SOON, async || { ask(&channel).await.unwrap() == "second" }).await);
    assert!(load.stop().await.is_empty(), "not one request failed");
}

#[tokio::test]
async fn what_happened_while_history_was_lost_is_known_afterwards() {
    let registry = MemoryCoordinator::new();
    let (leaving, coming) = (Node::start("leaving"), Node::start("coming"));
    let registered = leaving.register(&registry).await;
    let without_grace = options().with_forget_after(std::time::Duration::ZERO);
    let channel = channels(&registry, without_grace).channel(SERVICE).await.unwrap();
    assert_eq!(ask(&channel).await.unwrap(), "leaving");

    let load = Load::start(&channel, 4);
    let _coming = coming.register(&registry).await;
    registry
        .faults()
        .close_watches(&Error::new(ErrorKind::Unavailable, "the server restarts"));
    registered.deregister().await.unwrap();
    registry.faults().forget_history();
    assert!(eventually(SOON, async || channel.instances().len() == 1).await);
    assert!(eventually_answered_by(&channel, &["coming"]).await);
    assert!(load.stop().await.is_empty());
}
