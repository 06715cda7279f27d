//! Locks.

use std::sync::Arc;
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::coordination::{LockOptions, Locks};
use infra_redis::RedisCache;
use infra_redis::redis::{self, Value};
use infra_testkit::tcp_proxy::Cut;
use infra_testkit::time::eventually;
use tokio::time::{Instant, sleep, timeout};

use crate::server::{LONG, Server};

/// Far below the lease and below the time after which who waits looks by itself, and enough for a busy machine.
const SOON: Duration = Duration::from_secs(4);

async fn connect(server: &Server) -> RedisCache {
    let cache = RedisCache::connect(server.config()).await.unwrap();
    // The server knows the scripts from here on.
    let guard = cache.try_acquire("warm", LONG).await.unwrap().unwrap();
    guard.release().await.unwrap();
    cache
}

#[tokio::test]
async fn a_free_lock_costs_one_round_trip_and_its_release_another() {
    let Some(server) = Server::find("lock-cost") else {
        return;
    };
    let cache = connect(&server).await;
    let mut watched = server.watch().await;
    let guard = cache.acquire("free", LockOptions::new(LONG)).await.unwrap();
    assert_eq!(watched.commands().await.len(), 1, "to acquire");
    assert!(cache.try_acquire("free", LONG).await.unwrap().is_none());
    assert_eq!(watched.commands().await.len(), 1, "to be refused");
    guard.release().await.unwrap();
    assert_eq!(watched.commands().await.len(), 1, "to release");
}

#[tokio::test]
async fn sixty_four_waiters_cost_one_attempt_for_each_release() {
    let Some(server) = Server::find("lock-herd") else {
        return;
    };
    let cache = Arc::new(connect(&server).await);
    let mut watched = server.watch().await;
    let guard = cache.try_acquire("herd", LONG).await.unwrap().unwrap();
    let mut waiters = Vec::new();
    for _ in 0..64 {
        let cache = Arc::clone(&cache);
        waiters.push(tokio::spawn(async move {
            let options = LockOptions::new(LONG).with_wait(LONG);
            let guard = cache.acquire("herd", options).await.unwrap();
            guard.release().await.unwrap();
        }));
    }
    sleep(Duration::from_secs(1)).await;
    // Who is first looked before it listened, and after.
    assert_eq!(watched.calls().await, 1 + 2, "while nothing happens");
    guard.release().await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(
        watched.calls().await,
        1 + 64 * 2,
        "a release, and one attempt and one release for each"
    );
    let channel = redis::cmd("PUBSUB")
        .arg("NUMSUB")
        .arg(format!("{}lock:herd", server.prefix))
        .to_owned();
    let unheard = eventually(SOON, async || match server.run(&channel).await {
        Value::Array(told) => told.last() == Some(&Value::Int(0)),
        _ => false,
    });
    assert!(unheard.await, "nobody waits, and somebody listens");
}

#[tokio::test]
async fn a_notice_that_was_missed_is_made_up_for() {
    let Some(server) = Server::find("lock-gap") else {
        return;
    };
    let holder = connect(&server).await;
    let (config, proxy) = server.behind_proxy();
    let waiting = RedisCache::connect(config).await.unwrap();
    let guard = holder.try_acquire("gap", LONG).await.unwrap().unwrap();
    let waiter = tokio::spawn(async move {
        let options = LockOptions::new(LONG).with_wait(LONG);
        waiting
            .acquire("gap", options)
            .await
            .map(|guard| (guard, Instant::now()))
    });
    let channel = redis::cmd("PUBSUB")
        .arg("NUMSUB")
        .arg(format!("{}lock:gap", server.prefix))
        .to_owned();
    let heard = async |expected: i64| {
        let heard = eventually(SOON, async || match server.run(&channel).await {
            Value::Array(told) => told.last() == Some(&Value::Int(expected)),
            _ => false,
        });
        assert!(heard.await, "{expected} should listen");
    };
    heard(1).await;
    proxy.refuse().unwrap();
    proxy.cut(Cut::Reset).unwrap();
    heard(0).await;
    guard.release().await.unwrap();
    proxy.accept().unwrap();
    let back = Instant::now();
    let (guard, at) = timeout(LONG, waiter).await.unwrap().unwrap().unwrap();
    assert!(
        at - back < SOON,
        "the waiter was told {:?} after it could be",
        at - back
    );
    guard.release().await.unwrap();
}

#[tokio::test]
async fn what_nobody_heard_of_is_given_back_at_once() {
    let Some(server) = Server::find("lock-lost") else {
        return;
    };
    let other = connect(&server).await;
    for how in ["given up", "without an answer"] {
        let (config, proxy) = server.behind_proxy();
        let config = config
            .with_request_timeout(Duration::from_millis(300))
            .with_retries(0);
        let cache = RedisCache::connect(config).await.unwrap();
        proxy.to_client().stall();
        let attempt = cache.try_acquire("lost", LONG);
        if how == "given up" {
            assert!(
                timeout(Duration::from_millis(100), attempt).await.is_err(),
                "nothing gets through"
            );
        } else {
            assert_eq!(attempt.await.unwrap_err().kind(), ErrorKind::Timeout);
        }
        proxy.heal().unwrap();
        let began = Instant::now();
        let guard = other
            .acquire("lost", LockOptions::new(LONG).with_wait(LONG))
            .await
            .unwrap();
        assert!(began.elapsed() < SOON, "{how}: free after {:?}", began.elapsed());
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_comes_after_it_was_given_up_gets_nothing() {
    let Some(server) = Server::find("lock-late") else {
        return;
    };
    let cache = connect(&server).await;
    let (config, proxy) = server.behind_proxy();
    let late = RedisCache::connect(config).await.unwrap();
    // The request waits on its way; giving it up waits behind it, and is not repeated.
    proxy.both().stall();
    assert!(
        timeout(Duration::from_millis(100), late.try_acquire("late", LONG))
            .await
            .is_err()
    );
    proxy.heal().unwrap();
    let free = eventually(SOON, async || {
        cache.try_acquire("late", LONG).await.unwrap().is_some()
    });
    assert!(free.await, "nobody has it, and nobody gets it");
}

#[tokio::test]
async fn fences_are_remembered_beyond_a_release_and_not_forever() {
    let Some(server) = Server::find("lock-fence") else {
        return;
    };
    let cache = connect(&server).await;
    let ttl = Duration::from_millis(1_234);
    let guard = cache.try_acquire("fence", ttl).await.unwrap().unwrap();
    let key = format!("{}lock:fence", server.prefix);
    let remembered = Duration::from_secs(3600);
    let left = async || match server.run(redis::cmd("PTTL").arg(&key)).await {
        Value::Int(left) => Duration::from_millis(u64::try_from(left).unwrap()),
        other => panic!("{other:?}"),
    };
    assert!(left().await > remembered && left().await <= remembered + ttl);
    let token = guard.fencing_token();
    guard.release().await.unwrap();
    assert!(left().await > remembered - SOON && left().await <= remembered);
    // Far ahead of the clock, as after it was set back.
    let ahead = token.0 + (1 << 40);
    server
        .run(redis::cmd("HSET").arg(&key).arg("fence").arg(ahead))
        .await;
    let guard = cache.try_acquire("fence", ttl).await.unwrap().unwrap();
    assert_eq!(guard.fencing_token().0, ahead + 1);
}

#[tokio::test]
async fn who_may_not_listen_looks_again_and_again() {
    let Some(server) = Server::find("lock-deaf") else {
        return;
    };
    let holder = connect(&server).await;
    let user = infra_testkit::unique("deaf");
    let mut create = redis::cmd("ACL");
    create
        .arg("SETUSER")
        .arg(&user)
        .arg("on")
        .arg(">secret")
        .arg("~*")
        .arg("+@all")
        .arg("resetchannels");
    server.run(&create).await;
    let mut config = server.config();
    config.user = Some(user.clone());
    config.password = Some(infra_core::config::Secret::new("secret".to_owned()));
    let deaf = RedisCache::connect(config).await.unwrap();
    for waits in [&deaf, &holder] {
        let holds = if std::ptr::eq(waits, &deaf) {
            &holder
        } else {
            &deaf
        };
        let guard = holds.try_acquire("deaf", LONG).await.unwrap().unwrap();
        let release = async {
            sleep(Duration::from_millis(500)).await;
            guard.release().await.unwrap();
        };
        let options = LockOptions::new(LONG).with_wait(LONG);
        let began = Instant::now();
        let (acquired, ()) = tokio::join!(waits.acquire("deaf", options), release);
        acquired.unwrap().release().await.unwrap();
        // Who may not publish tells nobody: then it takes until the other one looks by itself.
        assert!(began.elapsed() < SOON * 2, "{:?}", began.elapsed());
    }
    server.run(redis::cmd("ACL").arg("DELUSER").arg(&user)).await;
}
