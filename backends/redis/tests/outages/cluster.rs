//! A cluster whose master dies, and one whose slots move, while clients work.

use std::time::{Duration, Instant};

use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_core::config::Host;

use crate::ground::{
    Counting, Other, Own, RECOVERY, check_counts, check_kind, in_time, recovered, replicated,
};

/// The masters as the first host that answers knows them: id, host, and the first of their slots.
async fn masters(server: &Own) -> Vec<(String, Host, u16)> {
    let nodes: String = server.other(0).await.run("CLUSTER NODES").await;
    let mut found = Vec::new();
    for line in nodes.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let is_master = words[2].contains("master") && !words[2].contains("fail");
        if let (true, Some(slots)) = (is_master, words.get(8)) {
            let address = words[1].split('@').next().unwrap();
            let (host, port) = address.rsplit_once(':').unwrap();
            let first = slots.split('-').next().unwrap().parse().unwrap();
            found.push((words[0].to_owned(), Host::new(host, port.parse().ok()), first));
        }
    }
    found
}

/// Keys of one slot.
fn keys(tag: &str, count: usize) -> Vec<String> {
    (0..count).map(|key| format!("{{{tag}}}{key}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_under_load_loses_nothing_and_does_nothing_twice() {
    let Some(server) = Own::start("redis-cluster").await else {
        return;
    };
    let cache = server.cache().await;
    let keys = keys("moving", 200);
    let first = format!("dev:{}", keys[0]);
    let slot: u16 = server
        .other(0)
        .await
        .run(&format!("CLUSTER KEYSLOT {first}"))
        .await;
    let counting = Counting::start(&cache, 16, &keys);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut masters = masters(&server).await;
    masters.sort_by_key(|(_, _, first)| *first);
    let mut owner = masters.iter().rposition(|(_, _, first)| *first <= slot).unwrap();
    for _ in 0..4 {
        let target = (owner + 1) % masters.len();
        move_slot(slot, &masters[owner], &masters[target], &masters).await;
        owner = target;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let sums = counting.stop().await;
    let done = check_counts(&cache, &sums).await;
    assert!(done > 200, "{done} were done");
    let unknown: i64 = sums.values().map(|told| told.unknown).sum();
    assert_eq!(unknown, 0, "no connection broke, so nothing is unknown: {sums:?}");
}

/// As `redis-cli --cluster reshard` does it, a few keys at a time.
async fn move_slot(
    slot: u16,
    from: &(String, Host, u16),
    to: &(String, Host, u16),
    all: &[(String, Host, u16)],
) {
    let (mut source, mut target) = (Other::to(&from.1).await, Other::to(&to.1).await);
    let () = target
        .run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", from.0))
        .await;
    let () = source
        .run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", to.0))
        .await;
    loop {
        let batch: Vec<String> = source.run(&format!("CLUSTER GETKEYSINSLOT {slot} 10")).await;
        if batch.is_empty() {
            break;
        }
        let (name, port) = (&to.1.name, to.1.port.unwrap());
        let moved = format!("MIGRATE {name} {port}  0 5000 KEYS {}", batch.join(" "));
        let _: String = source.run(&moved).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (_, host, _) in [to, from].into_iter().chain(all) {
        let assign = format!("CLUSTER SETSLOT {slot} NODE {}", to.0);
        let () = Other::to(host).await.run(&assign).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_the_place_of_a_dead_master() {
    let Some(server) = Own::start("redis-replicas").await else {
        return;
    };
    let cache = server.cache().await;
    let masters = masters(&server).await;
    assert_eq!(masters.len(), 3);
    // Keys of all masters, which the replicas have, too.
    let stored: Vec<String> = (0..60).map(|key| format!("stored{key}")).collect();
    for key in &stored {
        cache.set(key, "1".into(), Ttl::secs(600)).await.unwrap();
    }
    for (_, host, _) in &masters {
        replicated(host).await;
    }
    let keys: Vec<String> = (0..12).map(|key| format!("count{key}")).collect();
    let counting = Counting::start(&cache, 8, &keys);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let dead = &masters[1].1;
    let number = 1 + server.config.hosts.iter().position(|host| host == dead).unwrap();
    server.node(number).kill().await.unwrap();
    let died = Instant::now();
    for key in &stored {
        loop {
            let began = Instant::now();
            let answer = cache.get(key).await;
            in_time(began);
            match answer {
                Ok(found) => {
                    assert_eq!(found.expect("it was reported stored"), "1", "{key}");
                    break;
                }
                Err(error) => check_kind(&error),
            }
            assert!(died.elapsed() < RECOVERY, "{key} is not there after {RECOVERY:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for key in &stored {
        cache.set(key, "2".into(), Ttl::secs(600)).await.unwrap();
    }
    recovered(&cache).await;
    // Redis answers before its replicas have it, so what was done last may be lost; nothing is done twice.
    for (key, told) in counting.stop().await {
        let there = cache.incr_by(&key, 0).await.unwrap();
        assert!(there <= told.done + told.unknown, "{key} is {there}: {told:?}");
        assert!(told.done > 0, "{key}: {told:?}");
    }
    server.node(number).start().await.unwrap();
    recovered(&cache).await;
}
