//! Faults of a real Consul of this test's own: killed and started again with and without its data, frozen, cut off.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, and say what they saw"
)]

mod campaigns;
mod locks;
mod server;
mod watches;

use std::time::Duration;

use futures_util::StreamExt;
use infra_consul::ConsulCoordinator;
use infra_core::config::Host;
use infra_core::coordination::{
    ConfigCenter, ConfigCenterExt, ConfigEntry, Instance, InstanceIds, Locks, Registry, WatchScope,
};
use infra_core::watch::{Watch, WatchEvent};
use infra_core::{Backend, ErrorKind};
use infra_testkit::servers::Set;
use infra_testkit::tcp_proxy::TcpProxy;
use infra_testkit::time::eventually;
use tokio::time::{Instant, timeout};

use crate::server::Server;

/// The shortest lease.
const TTL: Duration = Duration::from_secs(10);
/// How late anything may be on a machine that builds at the same time.
const SLACK: Duration = Duration::from_secs(5);
const REQUEST: Duration = Duration::from_secs(2);

fn instance() -> Instance {
    Instance::new("users", "one", "host.example", 9000)
}

async fn listed(client: &ConsulCoordinator) -> bool {
    let snapshot = client.discover("users").await;
    snapshot.is_ok_and(|snapshot| snapshot.instances == [instance()])
}

async fn watched(client: &ConsulCoordinator, key: &str) -> Watch<ConfigEntry> {
    let scope = WatchScope::Key(key.to_owned());
    let (_, revision) = client.read(&scope).await.unwrap();
    client.watch(&scope, revision).await.unwrap()
}

/// Reads until this is told; what came before it.
async fn told(watch: &mut Watch<ConfigEntry>, value: &str) -> Vec<String> {
    let mut before = Vec::new();
    loop {
        let event = timeout(SLACK * 4, watch.next()).await.unwrap().unwrap();
        match event {
            WatchEvent::Put(entry) if entry.value == value => return before,
            WatchEvent::Put(entry) => before.push(format!("{:?}", entry.value)),
            WatchEvent::Closed(error) => panic!("the watch ended: {error}"),
            other => before.push(format!("{other:?}")),
        }
    }
}

async fn put(client: &ConsulCoordinator, key: &str, value: &str) {
    let write = || infra_core::coordination::ConfigWrite::set(key, value.to_owned());
    let written = eventually(SLACK * 4, async || client.write(vec![write()]).await.is_ok()).await;
    assert!(written, "{key} could not be written");
}

#[tokio::test]
async fn a_killed_server_comes_back_with_its_data_and_nothing_is_lost() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (ours, theirs) = (server.client().await, server.client().await);
    put(&ours, "key", "1").await;
    let mut watch = watched(&ours, "key").await;
    let _kept = ours.register(instance(), TTL).await.unwrap();
    let lock = ours
        .try_acquire("lock", TTL * 6)
        .await
        .unwrap()
        .expect("a free lock");

    server.act(Set::kill).await;
    assert_eq!(theirs.health().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.act(Set::start).await;

    put(&theirs, "key", "2").await;
    let before = told(&mut watch, "2").await;
    assert_eq!(before, Vec::<String>::new(), "the server kept its data");
    let again = eventually(TTL + SLACK, async || listed(&theirs).await).await;
    assert!(again, "an instance did not register itself again");
    assert!(lock.check().is_ok(), "the session of the lock was kept");
    let free = theirs.try_acquire("lock", TTL).await.unwrap();
    assert!(free.is_none(), "the lock has two holders");
    lock.release().await.unwrap();
}

#[tokio::test]
async fn a_server_that_lost_its_data_is_told_to_everybody() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (ours, theirs) = (server.client().await, server.client().await);
    for value in ["1", "2", "3"] {
        put(&ours, "key", value).await;
    }
    let mut watch = watched(&ours, "key").await;
    let _kept = ours.register(instance(), TTL).await.unwrap();
    let lock = ours.try_acquire("lock", TTL).await.unwrap().expect("a free lock");
    let number = ours.acquire_instance_id("users", 7..=7).await.unwrap();
    let revision = theirs.read(&WatchScope::Prefix(String::new())).await.unwrap().1;

    server.act(Set::reset).await;

    let began = Instant::now();
    timeout(TTL + SLACK, lock.lost())
        .await
        .expect("the holder of the lock is told");
    timeout(TTL + SLACK, number.lost())
        .await
        .expect("the holder of the number is told");
    assert!(began.elapsed() < TTL + SLACK);
    put(&theirs, "key", "4").await;
    let before = told(&mut watch, "4").await;
    assert_eq!(before, ["Reset"], "what was told of the loss");
    // A revision of the life before.
    let scope = WatchScope::Prefix(String::new());
    let mut late = theirs.watch(&scope, revision + 1_000).await.unwrap();
    let first = timeout(SLACK, late.next()).await.unwrap();
    assert!(matches!(first, Some(WatchEvent::Reset)), "{first:?}");
    let again = eventually(TTL + SLACK, async || listed(&theirs).await).await;
    assert!(again, "an instance did not register itself again");
    let lock = ours.try_acquire("lock", TTL).await.unwrap();
    assert!(lock.is_some(), "the next lock stands on a new session");
}

#[tokio::test]
async fn a_frozen_server_holds_nobody_up_and_a_lock_ends_in_time() {
    let Some(server) = Server::start().await else {
        return;
    };
    let (ours, theirs) = (server.client().await, server.client().await);
    put(&ours, "key", "1").await;
    let mut watch = watched(&ours, "key").await;
    let lock = ours.try_acquire("lock", TTL).await.unwrap().expect("a free lock");

    server.act(Set::pause).await;
    let frozen = eventually(SLACK * 2, async || theirs.health().await.is_err()).await;
    assert!(frozen, "a frozen server answers");
    let began = Instant::now();
    let answers = tokio::join!(
        theirs.list(""),
        theirs.try_acquire("other", TTL),
        theirs.acquire_instance_id("users", 0..=1),
        theirs.register(instance(), TTL),
        theirs.health()
    );
    assert!(
        began.elapsed() < REQUEST + SLACK,
        "calls took {:?}",
        began.elapsed()
    );
    let kinds = [
        answers.0.err(),
        answers.1.err(),
        answers.2.err(),
        answers.3.err(),
        answers.4.err(),
    ];
    for error in kinds {
        assert_eq!(error.expect("nothing answers").kind(), ErrorKind::Timeout);
    }
    timeout(TTL + SLACK, lock.lost())
        .await
        .expect("the holder is told within its lease");
    server.act(Set::resume).await;

    put(&theirs, "key", "2").await;
    told(&mut watch, "2").await;
    // What was asked for without an answer is taken away again, though the server may have done it.
    let other = eventually(TTL + SLACK, async || {
        let other = theirs.try_acquire("other", TTL).await;
        other.is_ok_and(|other| other.is_some())
    });
    assert!(other.await, "a lock that nobody holds is not free");
}

#[tokio::test]
async fn any_one_of_several_agents_is_enough() {
    let Some(server) = Server::start().await else {
        return;
    };
    let proxy = TcpProxy::start(server.url.hosts()[0].or_port(8500)).unwrap();
    let dead = TcpProxy::start("127.0.0.1:1").unwrap();
    dead.refuse().unwrap();
    let host = |proxy: &TcpProxy| Host::new("127.0.0.1", Some(proxy.address().port()));
    let config = server
        .config()
        .with_hosts([host(&dead), host(&proxy), server.url.hosts()[0].clone()]);
    let client = ConsulCoordinator::connect(config).await.unwrap();
    client.set("key", &1).await.unwrap();
    // The agent that it uses goes away: the next one is the server itself.
    proxy.refuse().unwrap();
    proxy.cut(infra_testkit::tcp_proxy::Cut::Reset).unwrap();
    let reads = eventually(SLACK, async || {
        client.get::<i32>("key").await.is_ok_and(|value| value == Some(1))
    });
    assert!(reads.await, "the client stayed with an agent that is gone");
}
