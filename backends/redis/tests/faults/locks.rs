//! Locks: contended while the server is disturbed, and held by a process that is stopped.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::coordination::{LockOptions, Locks};
use infra_redis::RedisCache;
use infra_testkit::campaigns::holders::{hold, outlive};
use infra_testkit::campaigns::locks::{Contention, contend};
use infra_testkit::campaigns::rounds;
use infra_testkit::{servers, unique};

use crate::ground::{Own, config};

const TTL: Duration = Duration::from_secs(3);

/// Five clients, of which the first is slow and has a way of its own, contend while these nodes are killed and frozen.
async fn campaign(server: &Own, nodes: [usize; 3]) {
    let (alone, together) = (server.ways(), server.ways());
    let mut clients: Vec<Arc<dyn Locks>> = vec![Arc::new(alone.connect().await)];
    for _ in 0..4 {
        clients.push(Arc::new(together.connect().await));
    }
    let faults = [
        alone.partition("the slow client is cut off beyond its leases", TTL * 3 / 2),
        server.kill(nodes[0]),
        together.reset("connections are reset"),
        server.freeze(nodes[1], TTL / 3),
        server.freeze(nodes[2], TTL * 3 / 2),
        alone
            .and(&together)
            .partition("all are cut off beyond their leases", TTL * 3 / 2),
        server.kill(nodes[1]),
        alone.reset("connections are reset"),
        server.kill(nodes[2]),
        alone.partition("the slow client is cut off beyond its leases", TTL * 3 / 2),
    ];
    let plan = Contention::new("campaign", rounds(60), TTL)
        .with_hold(Duration::from_millis(200))
        .with_slow_client(0)
        .with_pause(Duration::from_millis(500));
    let report = contend(&clients, &faults, &plan).await.unwrap();
    println!("{report:?}");
    assert!(
        report.rounds >= plan.rounds && report.faults >= faults.len(),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_a_lock_beside_another_whatever_happens_to_the_server() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    campaign(&server, [1, 1, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_a_lock_beside_another_whatever_happens_to_a_cluster() {
    let Some(cluster) = Own::start("redis-cluster").await else {
        return;
    };
    campaign(&cluster, [1, 2, 3]).await;
}

#[tokio::test]
async fn a_server_that_forgot_everything_tells_the_holder_and_gives_a_greater_token() {
    let Some(server) = Own::start("redis").await else {
        return;
    };
    let ways = server.ways();
    let (ours, theirs) = (ways.connect().await, ways.connect().await);
    let before = ours.try_acquire("forgotten", TTL).await.unwrap().unwrap();
    server.forget().await;
    let options = LockOptions::new(TTL).with_wait(TTL * 4);
    let after = loop {
        match theirs.acquire("forgotten", options).await {
            Ok(guard) => break guard,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    };
    assert!(after.fencing_token() > before.fencing_token());
    // Both believed in their leases for a while: that is what the token is for.
    tokio::time::timeout(TTL * 2, before.lost()).await.unwrap();
    let refused = before.release().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::LeaseLost);
    after.release().await.unwrap();
}

/// The variables that tell the holder's process what to hold.
const URL: &str = "INFRA_TEST_HOLDER_URL";
const KEY: &str = "INFRA_TEST_HOLDER_KEY";

#[tokio::test]
#[ignore = "the next test starts it, as a process of its own"]
async fn holder() {
    let (url, key) = (std::env::var(URL).unwrap(), std::env::var(KEY).unwrap());
    let locks = RedisCache::connect(config(&url)).await.unwrap();
    hold(&locks, &key, TTL).await.unwrap();
}

#[tokio::test]
async fn a_holder_that_is_stopped_beyond_its_lease_finds_out_before_it_acts() {
    let Some(url) = servers::require("redis") else {
        return;
    };
    let locks = RedisCache::connect(config(&url)).await.unwrap();
    for _ in 0..rounds(1).div_ceil(50) {
        let key = unique("stopped");
        let mut holder = Command::new(std::env::current_exe().unwrap());
        holder.args(["--exact", "locks::holder", "--ignored", "--nocapture"]);
        holder.env(URL, &url).env(KEY, &key);
        let waited = outlive(holder, &locks, &key, TTL).await.unwrap();
        println!("taken over after {waited:?}");
    }
}
