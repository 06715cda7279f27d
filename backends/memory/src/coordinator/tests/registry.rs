//! Registry: leases that make themselves again, watches, partitions.

use infra_core::coordination::{Instance, InstanceState, Registry, RegistryExt, ServiceSnapshot};
use infra_core::{Backend, ErrorKind};
use tokio::time::Instant;

use super::*;
use crate::MemoryCoordinator;

const TTL: Duration = Duration::from_secs(9);

fn instance(id: &str) -> Instance {
    Instance::new("users", id, "10.0.0.7", 9000)
}

fn ids(snapshot: &ServiceSnapshot) -> Vec<&str> {
    snapshot
        .instances
        .iter()
        .map(|instance| instance.id.as_str())
        .collect()
}

async fn discovered(registry: &MemoryCoordinator) -> ServiceSnapshot {
    registry.discover("users").await.expect("no error")
}

#[tokio::test(start_paused = true)]
async fn a_registered_instance_is_found_whole_kept_alive_and_removed() {
    let registry = MemoryCoordinator::new();
    let whole = instance("b")
        .with_weight(0)
        .with_zone("z")
        .with_metadata("version", "1.4.2");
    let first = registry.register(whole.clone(), TTL).await.expect("registered");
    let second = registry.register(instance("a"), TTL).await.expect("registered");
    assert!(
        registry
            .discover("unknown")
            .await
            .expect("no error")
            .instances
            .is_empty()
    );
    tokio::time::sleep(TTL * 5).await;
    let snapshot = discovered(&registry).await;
    assert_eq!(ids(&snapshot), ["a", "b"]);
    assert_eq!(snapshot.instances[1], whole);
    first.deregister().await.expect("removed");
    assert_eq!(ids(&discovered(&registry).await), ["a"]);
    drop(second);
    tokio::time::sleep(Duration::from_millis(1)).await; // it is removed in the background
    assert!(discovered(&registry).await.instances.is_empty());
    tokio::time::sleep(TTL * 2).await;
    assert!(
        discovered(&registry).await.instances.is_empty(),
        "nothing brings it back"
    );
}

#[tokio::test(start_paused = true)]
async fn joins_changes_and_leaves_are_watched_from_the_snapshot_on() {
    let registry = MemoryCoordinator::new();
    let _old = registry.register(instance("old"), TTL).await.expect("registered");
    let snapshot = discovered(&registry).await;
    let mut new = registry.register(instance("new"), TTL).await.expect("registered");
    let mut watch = registry
        .watch_service("users", snapshot.revision)
        .await
        .expect("watched");
    let _elsewhere = registry
        .register(Instance::new("users-admin", "x", "h", 1), TTL)
        .await
        .expect("registered");
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(joined) if joined.id == "new"));
    new.set_state(InstanceState::Draining).await.expect("changed");
    assert!(
        matches!(next(&mut watch).await, WatchEvent::Put(changed) if changed.state == InstanceState::Draining)
    );
    assert_eq!(new.instance().state, InstanceState::Draining);
    new.deregister().await.expect("removed");
    assert!(matches!(next(&mut watch).await, WatchEvent::Delete(id) if id == "new"));
    silent(&mut watch).await;
}

#[tokio::test(start_paused = true)]
async fn the_same_id_replaces_and_the_earlier_registration_cannot_remove_it() {
    let registry = MemoryCoordinator::new();
    let mut earlier = registry.register(instance("one"), TTL).await.expect("registered");
    let later = registry
        .connect()
        .register(instance("one").with_weight(7), TTL)
        .await
        .expect("registered");
    let snapshot = discovered(&registry).await;
    assert_eq!((snapshot.instances.len(), snapshot.instances[0].weight), (1, 7));
    let error = earlier
        .set_state(InstanceState::Draining)
        .await
        .expect_err("replaced");
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(earlier.instance().state, InstanceState::Ready);
    earlier.deregister().await.expect("nothing of ours to remove");
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(discovered(&registry).await.instances[0].weight, 7);
    later.deregister().await.expect("removed");
    assert!(discovered(&registry).await.instances.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dead_instance_expires_and_watches_hear_of_it_although_nobody_asks() {
    let dying = MemoryCoordinator::new();
    let registry = dying.connect();
    let _registration = dying.register(instance("one"), TTL).await.expect("registered");
    let (_, mut watch) = registry.discover_and_watch("users").await.expect("watched");
    dying.faults().disconnect();
    let begun = Instant::now();
    assert!(matches!(next(&mut watch).await, WatchEvent::Delete(id) if id == "one"));
    let granularity = registry.capabilities().limits().ttl_granularity;
    assert!(begun.elapsed() <= TTL + granularity, "{:?}", begun.elapsed());
    assert!(discovered(&registry).await.instances.is_empty());

    dying.faults().reconnect();
    assert!(matches!(next(&mut watch).await, WatchEvent::Put(back) if back.id == "one"));
    tokio::time::sleep(TTL * 3).await;
    assert_eq!(
        ids(&discovered(&registry).await),
        ["one"],
        "and it is kept alive again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_is_made_good_by_itself_with_the_latest_state() {
    let registry = MemoryCoordinator::new();
    let mut registration = registry.register(instance("one"), TTL).await.expect("registered");
    registration
        .set_state(InstanceState::Draining)
        .await
        .expect("changed");
    for lose in [
        |registry: &MemoryCoordinator| registry.faults().lose_sessions(),
        |registry: &MemoryCoordinator| assert!(registry.faults().expire_instance("users", "one")),
    ] {
        lose(&registry);
        assert!(discovered(&registry).await.instances.is_empty());
        tokio::time::sleep(TTL / 2).await;
        let snapshot = discovered(&registry).await;
        assert_eq!(snapshot.instances[0].state, InstanceState::Draining);
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_list_is_served_while_the_server_is_away() {
    let registry = MemoryCoordinator::new();
    let _registration = registry.register(instance("one"), TTL).await.expect("registered");
    discovered(&registry).await;
    registry.faults().go_away();
    assert_eq!(ids(&discovered(&registry).await), ["one"]);
    let never_seen = registry.discover("other").await.expect_err("nothing to serve");
    assert_eq!(never_seen.kind(), ErrorKind::Unavailable);
    assert!(never_seen.is_retryable());
    registry.faults().come_back();
    tokio::time::sleep(TTL).await;
    assert_eq!(ids(&discovered(&registry).await), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_removes_what_the_client_registered_and_nothing_else() {
    let leaving = MemoryCoordinator::new();
    let staying = leaving.connect();
    let _leaves = leaving
        .register(instance("leaves"), TTL)
        .await
        .expect("registered");
    let _stays = staying
        .register(instance("stays"), TTL)
        .await
        .expect("registered");
    leaving.shutdown(Duration::from_secs(1)).await.expect("closed");
    assert_eq!(ids(&discovered(&staying).await), ["stays"]);
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(
        ids(&discovered(&staying).await),
        ["stays"],
        "nobody registers it again"
    );
    let error = leaving.discover("users").await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_could_reach_is_refused() {
    let registry = MemoryCoordinator::new();
    let mut nowhere = instance("one");
    nowhere.port = 0;
    let mut nameless = instance("one");
    nameless.service.clear();
    let heavy = instance("one").with_metadata("x", "x".repeat(2 * 1024 * 1024));
    let long = instance(&"x".repeat(2000));
    for refused in [nowhere, nameless, heavy, long] {
        let error = registry.register(refused, TTL).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let error = registry
        .register(instance("one"), Duration::ZERO)
        .await
        .expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}
