//! Values near to the process on a real Redis: how fast they are, how old they can be, and that nobody reads what he overwrote.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helper functions of tests fail like tests"
)]

use std::process::{Command, Stdio};
use std::time::Duration;

use infra_core::assembly::BackendOptions;
use infra_core::cache::{KeyValue, Keys};
use infra_core::config::{BackendUrl, Host};
use infra_core::{ErrorKind, Ttl};
use infra_redis::{RedisCache, RedisConfig, TwoTierConfig};
use infra_testkit::tcp_proxy::{Cut, TcpProxy};
use infra_testkit::time::eventually;
use infra_testkit::{servers, unique};
use tokio::time::Instant;

/// How old a value may be at most, in these tests.
const STALENESS: Duration = Duration::from_millis(400);
/// More than any test should take to see something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(url: &str, prefix: &str) -> RedisConfig {
    let mut config = RedisConfig::development();
    config.take_url(&BackendUrl::parse(url).unwrap()).unwrap();
    config.with_key_prefix(prefix)
}

/// A client that keeps values, behind a proxy for each node; one that does not, which is somebody else.
struct Pair {
    proxies: Vec<TcpProxy>,
    near: RedisCache,
    other: RedisCache,
}

impl Pair {
    async fn on(url: &str, prefix: &str) -> Self {
        let direct = config(url, prefix);
        let proxies: Vec<TcpProxy> = direct
            .hosts
            .iter()
            .map(|host| TcpProxy::start(host).unwrap())
            .collect();
        let address =
            |proxy: &TcpProxy| Host::new(proxy.address().ip().to_string(), Some(proxy.address().port()));
        let reachable = direct.hosts.iter().cloned().zip(proxies.iter().map(address));
        let near = direct
            .clone()
            .with_node_addresses(reachable)
            .with_hosts(proxies.iter().map(address), direct.topology.clone())
            .with_request_timeout(Duration::from_secs(1))
            .with_two_tier(TwoTierConfig::new().with_max_staleness(STALENESS));
        Self {
            near: RedisCache::connect(near).await.unwrap(),
            other: RedisCache::connect(direct).await.unwrap(),
            proxies,
        }
    }

    fn sent(&self) -> u64 {
        self.proxies
            .iter()
            .map(|proxy| proxy.stats().bytes_to_server)
            .sum()
    }

    fn stall(&self) {
        self.proxies.iter().for_each(|proxy| proxy.both().stall());
    }

    fn heal(&self) {
        self.proxies.iter().for_each(|proxy| proxy.heal().unwrap());
    }

    fn cut(&self) {
        self.proxies
            .iter()
            .for_each(|proxy| proxy.cut(Cut::Reset).unwrap());
    }

    /// Reads a key until it is kept near, so that reading it sends nothing.
    async fn keep(&self, key: &str) {
        let kept = eventually(PATIENCE, async || {
            let before = self.sent();
            self.near.get(key).await.unwrap();
            before == self.sent()
        });
        assert!(kept.await, "{key} is never kept");
    }

    async fn sees(&self, key: &str, value: &'static str, within: Duration) {
        let seen = eventually(within, async || {
            self.near.get(key).await.unwrap() == Some(value.into())
        });
        assert!(seen.await, "{value} was not seen within {within:?}");
    }
}

/// The server of the set, and a place of our own on it.
fn place(server: &str, name: &str) -> Option<(String, String)> {
    Some((servers::require(server)?, format!("{}:", unique(name))))
}

/// A test on one server and on a cluster.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod one_server {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name("redis").await;
            })+
        }

        mod cluster {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $name() {
                super::$name("redis-cluster").await;
            })+
        }
    };
}

on_both!(
    a_change_by_another_process_is_seen,
    a_change_by_somebody_else_is_seen,
    a_client_sees_its_own_change_at_once,
    a_value_does_not_outlive_its_time,
    readers_never_see_an_older_value_after_the_bound,
    what_cannot_be_proven_is_not_served,
    what_was_kept_is_forgotten_when_the_connection_breaks,
);

async fn a_change_by_somebody_else_is_seen(server: &str) {
    let Some((url, prefix)) = place(server, "changed") else {
        return;
    };
    let pair = Pair::on(&url, &prefix).await;
    assert_eq!(pair.near.get("a").await.unwrap(), None, "nothing is there yet");
    pair.keep("a").await;
    pair.other.set("a", "1".into(), Ttl::Never).await.unwrap();
    pair.sees("a", "1", STALENESS).await;
    pair.keep("a").await;
    pair.other.set("a", "2".into(), Ttl::Never).await.unwrap();
    pair.sees("a", "2", STALENESS).await;
    pair.keep("a").await;
    pair.other.delete(&["a"]).await.unwrap();
    let gone = eventually(STALENESS, async || pair.near.get("a").await.unwrap().is_none());
    assert!(gone.await, "a deletion was not seen");
}

async fn a_client_sees_its_own_change_at_once(server: &str) {
    let Some((url, prefix)) = place(server, "own") else {
        return;
    };
    let pair = Pair::on(&url, &prefix).await;
    for number in 0..500 {
        let value = number.to_string();
        pair.near
            .set("a", value.clone().into(), Ttl::Never)
            .await
            .unwrap();
        for _ in 0..3 {
            assert_eq!(pair.near.get("a").await.unwrap().unwrap(), value);
        }
    }
    assert_eq!(pair.near.incr_by("a", 1).await.unwrap(), 500);
    assert_eq!(pair.near.get("a").await.unwrap().unwrap(), "500");
    assert_eq!(pair.near.delete(&["a"]).await.unwrap(), 1);
    assert_eq!(pair.near.get("a").await.unwrap(), None);
}

async fn a_value_does_not_outlive_its_time(server: &str) {
    let Some((url, prefix)) = place(server, "expired") else {
        return;
    };
    let pair = Pair::on(&url, &prefix).await;
    let stored = Instant::now();
    pair.other.set("a", "1".into(), Ttl::millis(500)).await.unwrap();
    pair.keep("a").await;
    let stored_at_last = Instant::now();
    loop {
        let asked = Instant::now();
        let found = pair.near.get("a").await.unwrap();
        if found.is_none() {
            assert!(
                stored.elapsed() >= Duration::from_millis(499),
                "it was gone too early"
            );
            return;
        }
        assert!(
            asked < stored_at_last + Duration::from_millis(502),
            "it outlived its time"
        );
    }
}

/// The connection stays up and carries nothing: nobody tells of the change, and the bound holds all the same.
async fn what_cannot_be_proven_is_not_served(server: &str) {
    let Some((url, prefix)) = place(server, "silent") else {
        return;
    };
    let pair = Pair::on(&url, &prefix).await;
    pair.other.set("a", "1".into(), Ttl::Never).await.unwrap();
    pair.keep("a").await;
    pair.stall();
    pair.other.set("a", "2".into(), Ttl::Never).await.unwrap();
    let changed = Instant::now();
    loop {
        let asked = Instant::now();
        match pair.near.get("a").await {
            Ok(found) => {
                assert_eq!(found, Some("1".into()), "nothing else can have come through");
                assert!(
                    asked < changed + STALENESS,
                    "an old value was served {:?} later",
                    changed.elapsed()
                );
                tokio::task::yield_now().await;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                break;
            }
        }
    }
    pair.heal();
    let seen = eventually(PATIENCE, async || {
        pair.near
            .get("a")
            .await
            .is_ok_and(|found| found == Some("2".into()))
    });
    assert!(seen.await, "the new value was never seen");
    pair.keep("a").await;
}

async fn what_was_kept_is_forgotten_when_the_connection_breaks(server: &str) {
    let Some((url, prefix)) = place(server, "broken") else {
        return;
    };
    let pair = Pair::on(&url, &prefix).await;
    pair.other.set("a", "1".into(), Ttl::Never).await.unwrap();
    for number in 2..20_u32 {
        pair.keep("a").await;
        pair.cut();
        let value = number.to_string();
        pair.other
            .set("a", value.clone().into(), Ttl::Never)
            .await
            .unwrap();
        let changed = Instant::now();
        let seen = eventually(PATIENCE, async || {
            let asked = Instant::now();
            let found = pair.near.get("a").await;
            let is_new = found
                .as_ref()
                .is_ok_and(|found| found.as_deref() == Some(value.as_bytes()));
            let failed = found.is_err();
            assert!(
                is_new || failed || asked < changed + STALENESS,
                "{found:?} is too old"
            );
            is_new
        });
        assert!(seen.await, "the new value was never seen");
    }
}

/// Readers never go back, whatever happens between a read and its being kept.
async fn readers_never_see_an_older_value_after_the_bound(server: &str) {
    let Some((url, prefix)) = place(server, "race") else {
        return;
    };
    let pair = Pair::on(&url, &prefix).await;
    pair.other.set("a", "0".into(), Ttl::Never).await.unwrap();
    let written = std::sync::Arc::new(std::sync::Mutex::new(vec![Instant::now()]));
    let writing = async {
        for number in 1..3_000_u32 {
            pair.other
                .set("a", number.to_string().into(), Ttl::Never)
                .await
                .unwrap();
            written.lock().unwrap().push(Instant::now());
        }
    };
    let readers = (0..8).map(|_| {
        let (near, written) = (pair.near.clone(), std::sync::Arc::clone(&written));
        tokio::spawn(async move {
            loop {
                let asked = Instant::now();
                // On a busy machine an answer may be late; it is none that is too old.
                let Ok(found) = near.get("a").await else { continue };
                let found: usize = std::str::from_utf8(&found.unwrap()).unwrap().parse().unwrap();
                // When the next one was written, this one began to be old.
                let next = written.lock().unwrap().get(found + 1).copied();
                assert!(
                    next.is_none_or(|next| asked < next + STALENESS),
                    "{found} is too old"
                );
                if found == 2_999 {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    writing.await;
    for reader in readers {
        tokio::time::timeout(PATIENCE, reader)
            .await
            .expect("the last value is seen")
            .unwrap();
    }
}

/// The variables that tell the writer's process where to write.
const URL: &str = "INFRA_TEST_WRITER_URL";
const PREFIX: &str = "INFRA_TEST_WRITER_PREFIX";

#[tokio::test]
#[ignore = "the next test starts it, as a process of its own"]
async fn writer() {
    let (url, prefix) = (std::env::var(URL).unwrap(), std::env::var(PREFIX).unwrap());
    let cache = RedisCache::connect(config(&url, &prefix)).await.unwrap();
    cache.set("a", "theirs".into(), Ttl::Never).await.unwrap();
}

async fn a_change_by_another_process_is_seen(server: &str) {
    let Some((url, prefix)) = place(server, "process") else {
        return;
    };
    let pair = Pair::on(&url, &prefix).await;
    pair.near.set("a", "ours".into(), Ttl::Never).await.unwrap();
    pair.keep("a").await;
    let mut writer = Command::new(std::env::current_exe().unwrap());
    writer
        .args(["--exact", "writer", "--ignored", "--nocapture"])
        .env(URL, &url)
        .env(PREFIX, &prefix);
    let written = tokio::task::spawn_blocking(move || writer.stdout(Stdio::null()).status())
        .await
        .unwrap()
        .unwrap();
    assert!(written.success());
    pair.sees("a", "theirs", STALENESS).await;
}
