//! Beside services of GoChat on one etcd: what they write is found, what we write is where they look for it. The other side is
//! `etcdctl`, whose locks are by the same recipe, and from the same package, as theirs.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

mod etcdctl;

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Compat};
use infra_core::coordination::{
    ConfigCenterExt, Instance, InstanceIds, LockOptions, Locks, Registry, RegistryExt, Version,
};
use infra_core::watch::WatchEvent;
use infra_etcd::{EtcdConfig, EtcdCoordinator};
use infra_testkit::{servers, time, unique};

use etcdctl::Etcdctl;
use futures_util::StreamExt;

const TTL: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(10);

/// A client in GoChat's format, the other side, and a name of this test's own; nothing where the server is missing.
async fn beside_gochat() -> Option<(EtcdCoordinator, Etcdctl, String)> {
    let url = servers::require("etcd")?;
    let mut config = EtcdConfig::development().with_compat(Compat::GoChat);
    let url = BackendUrl::parse(&url).expect("a URL");
    config.take_url(&url).expect("a URL of etcd");
    let ours = EtcdCoordinator::connect(config).await.expect("connected");
    Some((ours, Etcdctl::to(url.hosts()), unique("gochat")))
}

#[tokio::test]
async fn a_go_service_is_discovered_and_watched() {
    let Some((ours, etcdctl, service)) = beside_gochat().await else {
        return;
    };
    let (_, mut watch) = ours.discover_and_watch(&service).await.unwrap();
    let json = format!(
        r#"{{"id":"go-1","name":"{service}","address":"10.0.0.7","port":9000,"metadata":{{"version":"1.4"}}}}"#
    );
    let key = format!("/services/{service}/go-1");
    etcdctl.put(&key, &json).await;
    let expected = Instance::new(&service, "go-1", "10.0.0.7", 9000).with_metadata("version", "1.4");
    assert_eq!(
        ours.discover(&service).await.unwrap().instances,
        std::slice::from_ref(&expected)
    );
    let Some(WatchEvent::Put(told)) = watch.next().await else {
        panic!("a Put was expected")
    };
    assert_eq!(told, expected);
    etcdctl.run(&["del", &key]).await;
    assert!(matches!(watch.next().await, Some(WatchEvent::Delete(id)) if id == "go-1"));
}

#[tokio::test]
async fn a_go_service_finds_ours_and_no_more_of_it_after_it_left() {
    let Some((ours, etcdctl, service)) = beside_gochat().await else {
        return;
    };
    let instance = Instance::new(&service, "rust-1", "10.0.0.8", 9001);
    let registration = ours.register(instance, TTL).await.unwrap();
    let key = format!("/services/{service}/rust-1");
    assert_eq!(
        etcdctl.get(&key).await,
        Some(format!(
            r#"{{"id":"rust-1","name":"{service}","address":"10.0.0.8","port":9001}}"#
        ))
    );
    registration.deregister().await.unwrap();
    assert_eq!(etcdctl.get(&key).await, None);
}

#[tokio::test]
async fn an_unreadable_instance_hides_no_other() {
    let Some((ours, etcdctl, service)) = beside_gochat().await else {
        return;
    };
    etcdctl
        .put(&format!("/services/{service}/bad"), "{not json")
        .await;
    let good = format!(r#"{{"id":"good","name":"{service}","address":"h","port":1}}"#);
    etcdctl.put(&format!("/services/{service}/good"), &good).await;
    let found = ours.discover(&service).await.unwrap().instances;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].id, "good");
}

#[tokio::test]
async fn a_lock_excludes_go_services_and_they_exclude_us() {
    let Some((ours, etcdctl, name)) = beside_gochat().await else {
        return;
    };
    let place = format!("/locks/{name}");

    let guard = ours.try_acquire(&name, TTL).await.unwrap().expect("free");
    let mut theirs = etcdctl.lock(&place);
    assert!(!theirs.is_held_within(Duration::from_millis(500)).await);
    guard.release().await.unwrap();
    assert!(theirs.is_held_within(SOON).await, "they get it when we leave");

    assert!(ours.try_acquire(&name, TTL).await.unwrap().is_none());
    let waiting = Arc::new(ours.clone());
    let (waiter, lock) = (Arc::clone(&waiting), name.clone());
    let waiting =
        tokio::spawn(async move { waiter.acquire(&lock, LockOptions::new(TTL).with_wait(SOON)).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished(), "they hold it");
    theirs.release().await;
    let guard = waiting.await.unwrap().expect("we get it when they leave");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn configuration_is_where_go_services_and_their_tools_keep_it() {
    let Some((ours, etcdctl, service)) = beside_gochat().await else {
        return;
    };
    let (key, place) = (
        format!("dev/{service}/ratelimit"),
        format!("/config/config/dev/{service}/ratelimit"),
    );
    etcdctl.put(&place, r#"{"rate":10}"#).await;
    let entry = ours.entry(&key).await.unwrap().expect("written by them");
    assert_eq!(
        (entry.key.as_str(), &entry.value[..]),
        (key.as_str(), &br#"{"rate":10}"#[..])
    );
    let version = ours
        .compare_and_set(&key, &serde_json::json!({"rate": 20}), entry.version)
        .await
        .unwrap();
    assert!(version > entry.version);
    assert_eq!(etcdctl.get(&place).await.as_deref(), Some(r#"{"rate":20}"#));
    let refused = ours
        .compare_and_set(&key, &serde_json::json!({}), Version::ABSENT)
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn instance_ids_are_told_apart_from_those_of_go_services() {
    let Some((ours, etcdctl, service)) = beside_gochat().await else {
        return;
    };
    let place = |number: u16| format!("/im-infra/allocators/{service}/ids/{number}");
    etcdctl.put(&place(1), "1").await;
    etcdctl.put(&place(3), "3").await;
    let held = ours.acquire_instance_id(&service, 0..=3).await.unwrap();
    assert_eq!(held.id(), 2, "they count from 1, and have 1 and 3");
    assert_eq!(etcdctl.get(&place(2)).await.as_deref(), Some("2"));
    let refused = ours.acquire_instance_id(&service, 0..=3).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
    etcdctl.run(&["del", &place(3)]).await;
    let freed = time::eventually(SOON, async || {
        let next = ours.acquire_instance_id(&service, 0..=3).await;
        next.is_ok_and(|next| next.id() == 3)
    });
    assert!(freed.await, "what they gave back is free");
}

#[tokio::test]
async fn names_that_go_services_would_find_elsewhere_are_refused() {
    let Some((ours, _, _)) = beside_gochat().await else {
        return;
    };
    for name in ["../services/x", "a//b", "a/", "/a", "."] {
        let locked = ours.try_acquire(name, TTL).await.map(|_| ());
        assert_eq!(locked.unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
        let found = ours.discover(name).await.map(|_| ());
        assert_eq!(found.unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
        let read = ours.entry(name).await.map(|_| ());
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidArgument, "{name}");
    }
}
