//! Idempotent operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra_core::ErrorKind;
use infra_core::once::{ClaimRequest, Once, OnceConfig, OnceOptions, OnceStore, StoreOnce};
use infra_redis::RedisOnceStore;
use infra_testkit::tcp_proxy::Cut;
use infra_testkit::time::eventually;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::server::{LONG, Server};

async fn connect(server: &Server) -> StoreOnce {
    let store = RedisOnceStore::connect(server.config()).await.unwrap();
    let once = StoreOnce::new(Arc::new(store), OnceConfig::development()).unwrap();
    // The server knows the scripts from here on.
    let work = async { Ok(Bytes::new()) };
    once.execute_bytes("warm", OnceOptions::new(LONG), Box::pin(work))
        .await
        .unwrap();
    once
}

#[tokio::test]
async fn it_costs_two_round_trips_when_executing_and_one_when_done() {
    let Some(server) = Server::find("once-cost") else {
        return;
    };
    let once = connect(&server).await;
    let mut watched = server.watch().await;
    for (trips, replay) in [(2, false), (1, true), (1, true)] {
        let work = async { Ok(Bytes::from_static(b"\0done\xff")) };
        let outcome = once
            .execute_bytes("cost", OnceOptions::new(LONG), Box::pin(work))
            .await
            .unwrap();
        assert_eq!(outcome.is_replay(), replay);
        assert_eq!(outcome.into_inner(), Bytes::from_static(b"\0done\xff"));
        assert_eq!(watched.commands().await.len(), trips);
    }
}

#[tokio::test]
async fn who_waits_is_told_of_the_result_and_does_not_ask_for_it_again_and_again() {
    const WAITERS: usize = 50;
    let Some(server) = Server::find("once-herd") else {
        return;
    };
    let once = Arc::new(connect(&server).await);
    let mut watched = server.watch().await;
    let (gate, begun) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let mut callers = Vec::new();
    for _ in 0..=WAITERS {
        let (once, gate, begun) = (Arc::clone(&once), Arc::clone(&gate), Arc::clone(&begun));
        callers.push(tokio::spawn(async move {
            let work = async move {
                begun.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok(Bytes::from_static(b"done"))
            };
            once.execute_bytes("herd", OnceOptions::new(LONG), Box::pin(work))
                .await
                .unwrap()
        }));
    }
    sleep(Duration::from_secs(1)).await;
    // One claim for each, and one look after it listened.
    assert_eq!(watched.calls().await, 1 + WAITERS * 2, "while the work runs");
    let opened = Instant::now();
    gate.notify_one();
    let mut replays = 0;
    for caller in callers {
        replays += usize::from(caller.await.unwrap().is_replay());
    }
    assert_eq!((begun.load(Ordering::SeqCst), replays), (1, WAITERS));
    assert!(
        opened.elapsed() < Duration::from_secs(3),
        "told after {:?}",
        opened.elapsed()
    );
    assert_eq!(
        watched.calls().await,
        1 + WAITERS,
        "the result is stored, and read by each"
    );
}

#[tokio::test]
async fn a_wait_ends_at_once_where_nobody_works() {
    let Some(server) = Server::find("once-idle") else {
        return;
    };
    let store = RedisOnceStore::connect(server.config()).await.unwrap();
    let began = Instant::now();
    store.wait_for_change("idle", LONG).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_claim_whose_reply_was_lost_is_not_said_to_have_had_no_effect() {
    let Some(server) = Server::find("once-lost") else {
        return;
    };
    let (config, proxy) = server.behind_proxy();
    let store = RedisOnceStore::connect(config).await.unwrap();
    let before = proxy.stats().bytes_to_server;
    proxy.to_client().stall();
    let claim = store.claim(ClaimRequest::new("lost", "owner", LONG));
    let disturb = async {
        let sent = eventually(LONG, async || proxy.stats().bytes_to_server > before);
        assert!(sent.await, "the claim is sent");
        proxy.refuse().unwrap();
        proxy.cut(Cut::Reset).unwrap();
    };
    let (claim, ()) = tokio::join!(claim, disturb);
    let error = claim.unwrap_err();
    // Connecting again failed, which by itself has no effect.
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.had_no_effect(), "{error:?}");
}
