//! Locks: `{prefix}lock:{key}`, 32 hexadecimal digits, set if absent, deleted if it is still one's own.

use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Compat};
use infra_core::coordination::{LockOptions, Locks};
use infra_redis::redis::{self, Client, Cmd, FromRedisValue};
use infra_redis::{RedisCache, RedisConfig};
use infra_testkit::{servers, unique};
use tokio::time::Instant;

const TTL: Duration = Duration::from_secs(60);
/// Far below any lease here.
const SOON: Duration = Duration::from_secs(4);

/// How im-infra gives a lock back.
const UNLOCK: &str =
    r#"if redis.call("get", KEYS[1]) == ARGV[1] then return redis.call("del", KEYS[1]) else return 0 end"#;

/// The other side: a Go service that shares the server.
struct GoChat {
    connection: redis::aio::MultiplexedConnection,
    prefix: String,
}

impl GoChat {
    async fn run<T: FromRedisValue>(&self, command: &Cmd) -> T {
        command.query_async(&mut self.connection.clone()).await.unwrap()
    }

    fn key(&self, lock: &str) -> String {
        format!("{}:lock:{lock}", self.prefix)
    }

    async fn lock(&self, lock: &str, owner: &str) -> bool {
        let mut set = redis::cmd("SET");
        set.arg(self.key(lock)).arg(owner).arg("NX").arg("PX").arg(60_000);
        self.run::<Option<String>>(&set).await.is_some()
    }

    async fn unlock(&self, lock: &str, owner: &str) -> bool {
        let mut eval = redis::cmd("EVAL");
        eval.arg(UNLOCK).arg(1).arg(self.key(lock)).arg(owner);
        self.run::<i64>(&eval).await == 1
    }

    async fn owner(&self, lock: &str) -> Option<String> {
        self.run(redis::cmd("GET").arg(self.key(lock))).await
    }
}

/// A client in GoChat's format and the other side; nothing where the server is missing.
async fn beside_gochat() -> Option<(RedisCache, GoChat)> {
    let url = servers::require("redis")?;
    let prefix = unique("gochat");
    let mut config = RedisConfig::development()
        .with_compat(Compat::GoChat)
        .with_key_prefix(&prefix);
    config.take_url(&BackendUrl::parse(&url).unwrap()).unwrap();
    let client = Client::open(url.as_str()).unwrap();
    let connection = client.get_multiplexed_async_connection().await.unwrap();
    Some((
        RedisCache::connect(config).await.unwrap(),
        GoChat { connection, prefix },
    ))
}

const THEIRS: &str = "0123456789abcdef0123456789abcdef";

#[tokio::test]
async fn who_holds_a_lock_keeps_the_other_side_out() {
    let Some((ours, go)) = beside_gochat().await else {
        return;
    };
    let guard = ours.try_acquire("order:7", TTL).await.unwrap().unwrap();
    let owner = go.owner("order:7").await.unwrap();
    assert!(
        owner.len() == 32 && owner.chars().all(|digit| digit.is_ascii_hexdigit()),
        "{owner}"
    );
    let left: i64 = go.run(redis::cmd("PTTL").arg(go.key("order:7"))).await;
    assert!((1..=60_000).contains(&left), "{left}");
    assert!(!go.lock("order:7", THEIRS).await && !go.unlock("order:7", THEIRS).await);
    guard.release().await.unwrap();
    assert!(go.lock("order:7", THEIRS).await);
    assert!(ours.try_acquire("order:7", TTL).await.unwrap().is_none());
    assert!(go.unlock("order:7", THEIRS).await);
    ours.try_acquire("order:7", TTL).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_go_service_that_tells_nobody_is_followed_all_the_same() {
    let Some((ours, go)) = beside_gochat().await else {
        return;
    };
    assert!(go.lock("quiet", THEIRS).await);
    let began = Instant::now();
    let release = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(go.unlock("quiet", THEIRS).await);
    };
    let options = LockOptions::new(TTL).with_wait(TTL);
    let (acquired, ()) = tokio::join!(ours.acquire("quiet", options), release);
    acquired.unwrap().release().await.unwrap();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_lock_that_the_other_side_took_over_is_lost_and_left_alone() {
    let Some((ours, go)) = beside_gochat().await else {
        return;
    };
    let ttl = Duration::from_secs(2);
    let guard = ours.try_acquire("taken", ttl).await.unwrap().unwrap();
    go.run::<i64>(redis::cmd("DEL").arg(go.key("taken"))).await;
    assert!(go.lock("taken", THEIRS).await);
    tokio::time::timeout(SOON, guard.lost()).await.unwrap();
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(go.owner("taken").await.as_deref(), Some(THEIRS));
}

#[tokio::test]
async fn fences_grow_from_owner_to_owner_whoever_was_in_between() {
    let Some((ours, go)) = beside_gochat().await else {
        return;
    };
    let mut last = None;
    for round in 0..3 {
        let guard = ours.try_acquire("fence", TTL).await.unwrap().unwrap();
        assert!(last < Some(guard.fencing_token()), "round {round}");
        last = Some(guard.fencing_token());
        guard.release().await.unwrap();
        assert!(go.lock("fence", THEIRS).await && go.unlock("fence", THEIRS).await);
    }
}
