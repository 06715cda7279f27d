//! What a lost connection takes with it, component by component, by hand and by script.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use infra_core::ErrorKind;
use infra_core::coordination::{ConfigCenterExt as _, Coordinator, FencingToken, Instance, WatchScope};
use infra_core::intercept::Fault;
use infra_core::watch::WatchEvent;
use infra_testkit::TestInfra;
use infra_testkit::time::eventually;

const TTL: Duration = Duration::from_secs(30);
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_script_loses_the_connection_of_one_component_and_fails_the_call() {
    let infra = TestInfra::new();
    let coordinator = infra.coordinator();
    let guard = coordinator
        .try_acquire("job", TTL)
        .await
        .expect("reached")
        .expect("free");
    let mut watch = coordinator
        .watch(&WatchScope::Key("app/limit".to_owned()), 0)
        .await
        .expect("reached");

    infra.faults().script("config_center.read", [Fault::Disconnect]);
    let error = coordinator.entry("app/limit").await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(matches!(watch.next().await, Some(WatchEvent::Reset)));
    assert!(
        infra.memory_coordinator().lock_table().is_held("job"),
        "another's"
    );

    infra.faults().on("locks.*").nth(1, Fault::Disconnect);
    coordinator.try_acquire("other", TTL).await.expect_err("lost");
    guard.lost().await;
    assert!(
        coordinator
            .try_acquire("job", TTL)
            .await
            .expect("reached")
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn leases_are_lost_one_by_one_and_all_at_once() {
    let infra = TestInfra::new();
    let (coordinator, server) = (infra.coordinator(), infra.server_faults());
    let guard = coordinator
        .try_acquire("a", TTL)
        .await
        .expect("reached")
        .expect("free");
    assert!(server.lose_lock("a") && !server.lose_lock("b"));
    guard.lost().await;
    let guard = coordinator
        .try_acquire("a", TTL)
        .await
        .expect("reached")
        .expect("free");
    assert!(server.steal_lock("a", TTL) > guard.fencing_token());
    assert!(guard.fencing_token() > FencingToken(0));
    server.lose_locks();
    guard.lost().await;

    let id = coordinator.acquire_instance_id("svc", 1..=9).await.expect("free");
    assert!(server.lose_instance_id("svc", id.id()) && !server.lose_instance_id("svc", 77));
    id.lost().await;
    let id = coordinator.acquire_instance_id("svc", 1..=9).await.expect("free");
    server.lose_instance_ids();
    id.lost().await;
}

#[tokio::test(start_paused = true)]
async fn registrations_come_back_and_watches_are_told() {
    let infra = TestInfra::new();
    let (coordinator, server) = (infra.coordinator(), infra.server_faults());
    let instance = Instance::new("svc", "1", "127.0.0.1", 80);
    let _registration = coordinator.register(instance, TTL).await.expect("reached");
    let mut watch = coordinator.watch_service("svc", 0).await.expect("reached");
    assert!(server.lose_instance("svc", "1") && !server.lose_instance("svc", "2"));
    assert!(eventually(BOUND, async || discovered(&coordinator).await == 1).await);
    server.lose_instances();
    assert_eq!(discovered(&coordinator).await, 0);
    assert!(eventually(BOUND, async || discovered(&coordinator).await == 1).await);
    server.reset_watches();
    let mut resets = 0;
    while let Ok(Some(event)) = tokio::time::timeout(TTL, watch.next()).await {
        resets += usize::from(matches!(event, WatchEvent::Reset));
    }
    assert_eq!(resets, 1);
    server.go_away();
    assert!(infra.producer().await.is_err() && coordinator.entry("k").await.is_err());
    server.come_back();
    coordinator.entry("k").await.expect("back");
    infra.producer().await.expect("back");
}

async fn discovered(coordinator: &Arc<dyn Coordinator>) -> usize {
    coordinator
        .discover("svc")
        .await
        .map_or(9, |seen| seen.instances.len())
}
