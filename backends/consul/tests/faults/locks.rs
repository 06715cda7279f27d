//! Locks of a real Consul: contended by many while it is disturbed, and given back while nobody answers.

use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::{LockGuard, Locks};
use infra_testkit::campaigns::locks::{Contention, contend};
use infra_testkit::campaigns::rounds;
use infra_testkit::tcp_proxy::{Cut, TcpProxy};
use infra_testkit::time::eventually;

use crate::campaigns::{clients, faults};
use crate::server::Server;
use crate::{SLACK, TTL};

/// Contends in a campaign of so many rounds with so many clients of so many contenders each. Most faults outlast a lease.
async fn campaign(rounds: usize, number: usize, contenders: usize) {
    let Some(server) = Server::start().await else {
        return;
    };
    let (clients, proxies) = clients(&server, number).await;
    let contenders = clients.into_iter().flat_map(|client| {
        let client = Arc::new(client) as Arc<dyn Locks>;
        std::iter::repeat_n(client, contenders)
    });
    let contenders: Vec<Arc<dyn Locks>> = contenders.collect();
    // Longer than a lease: whoever holds the lock loses it.
    let faults = faults(&server, &proxies[0], TTL + TTL / 4);
    let plan = Contention::new("lock", rounds, TTL)
        .with_slow_client(0)
        .with_pause(Duration::from_secs(4));
    let began = std::time::Instant::now();
    let report = contend(&contenders, &faults, &plan).await.unwrap();
    println!(
        "{} contenders, {:?}: {report:?}",
        contenders.len(),
        began.elapsed()
    );
    assert!(
        report.rounds >= plan.rounds && report.faults >= faults.len(),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_clients_hold_a_lock_whatever_happens() {
    campaign(rounds(40), 4, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_contenders_get_a_lock_in_turn_whatever_happens() {
    campaign(rounds(100), 4, 16).await;
}

/// Gives a lock back through a proxy that is broken in this way, and looks whether others get it, though its session lives on.
async fn given_back(
    broken: impl AsyncFn(&TcpProxy),
    give_back: impl AsyncFn(LockGuard),
    healed: impl AsyncFn(&TcpProxy),
) {
    let Some(server) = Server::start().await else {
        return;
    };
    let (clients, proxies) = clients(&server, 1).await;
    let (ours, theirs) = (&clients[0], server.client().await);
    // So long that whatever was left behind would be there for longer than this test waits.
    let ttl = TTL * 6;
    let kept = ours.try_acquire("kept", ttl).await.unwrap().expect("a free lock");
    let lock = ours.try_acquire("lock", ttl).await.unwrap().expect("a free lock");
    broken(&proxies[0]).await;
    give_back(lock).await;
    healed(&proxies[0]).await;
    let free = eventually(SLACK * 2, async || {
        let lock = theirs.try_acquire("lock", ttl).await;
        lock.is_ok_and(|lock| lock.is_some())
    });
    assert!(free.await, "a lock that was given back is not free");
    assert!(kept.check().is_ok(), "another lock of the session was lost");
}

async fn cut_off(proxy: &TcpProxy) {
    proxy.refuse().unwrap();
    proxy.cut(Cut::Reset).unwrap();
}

async fn heal(proxy: &TcpProxy) {
    proxy.heal().unwrap();
}

#[tokio::test]
async fn a_lock_that_was_released_while_nobody_answered_is_free_when_somebody_does() {
    let release = async |lock: LockGuard| {
        lock.release().await.expect_err("nobody answers");
    };
    given_back(cut_off, release, heal).await;
}

#[tokio::test]
async fn a_lock_that_was_dropped_while_nobody_answered_is_free_when_somebody_does() {
    let give_up = async |lock: LockGuard| {
        drop(lock);
        // Its release fails in the background.
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    given_back(cut_off, give_up, heal).await;
}
