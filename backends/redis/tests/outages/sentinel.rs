//! A master behind sentinels that dies: the client finds the new one by itself.

use std::time::{Duration, Instant};

use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_core::config::Host;

use crate::ground::{Counting, Own, RECOVERY, check_kind, in_time, recovered, replicated};

/// The address of the master as a sentinel knows it.
async fn master(server: &Own, sentinel: usize) -> Host {
    let (name, port): (String, u16) = server
        .other(sentinel)
        .await
        .run("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster")
        .await;
    Host::new(name, Some(port))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_new_master_is_found_without_a_restart() {
    let Some(server) = Own::start("redis-sentinel").await else {
        return;
    };
    let cache = server.cache().await;
    cache.set("stored", "1".into(), Ttl::secs(600)).await.unwrap();
    let old = master(&server, 0).await;
    replicated(&old).await;
    let counting = Counting::start(&cache, 8, &["count".to_owned()]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    // A sentinel dies with it: the others are asked.
    server.node(1).kill().await.unwrap();
    server.node(4).kill().await.unwrap();
    let died = Instant::now();
    loop {
        let began = Instant::now();
        let answer = cache.set("new", "2".into(), Ttl::secs(600)).await;
        in_time(began);
        match answer {
            Ok(()) => break,
            Err(error) => check_kind(&error),
        }
        assert!(died.elapsed() < RECOVERY, "no new master after {RECOVERY:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_ne!(master(&server, 1).await, old);
    assert_eq!(cache.get("stored").await.unwrap().unwrap(), "1");
    let told = counting.stop().await["count"];
    let there = cache.incr_by("count", 0).await.unwrap();
    assert!(
        told.done > 0 && there <= told.done + told.unknown,
        "{there}: {told:?}"
    );
    // The old master comes back as a replica, which the client does not fall for.
    server.node(4).start().await.unwrap();
    recovered(&cache).await;
    assert_eq!(cache.get("new").await.unwrap().unwrap(), "2");
}
