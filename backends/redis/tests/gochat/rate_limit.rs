//! Buckets that Go services take from as well: a hash with `tokens` and `last_refill_ts`, by the clock of whoever wrote last.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Compat};
use infra_core::rate_limit::{
    Decision, Limiter, LimiterDependencies, Mode, Quota, RateLimitConfig, RateLimitStore, RateLimiterExt,
    Rule, Take,
};
use infra_redis::redis::aio::MultiplexedConnection;
use infra_redis::redis::{AsyncCommands, Client};
use infra_redis::{RedisConfig, RedisRateLimitStore};
use infra_testkit::{servers, unique};

/// Our store, the other side, and a key of this test's own; nothing where the server is missing.
async fn beside_gochat() -> Option<(RedisRateLimitStore, MultiplexedConnection, String)> {
    let url = servers::require("redis")?;
    let mut config = RedisConfig::development()
        .with_compat(Compat::GoChat)
        .with_key_prefix("gochat:");
    config.take_url(&BackendUrl::parse(&url).unwrap()).unwrap();
    let ours = RedisRateLimitStore::connect(config).await.expect("connected");
    let theirs = Client::open(url).unwrap();
    let theirs = theirs.get_multiplexed_async_connection().await.unwrap();
    Some((ours, theirs, unique("ratelimit:im-gateway:send")))
}

/// Nanoseconds of this machine's clock, as Go has them.
fn nanos() -> i128 {
    i128::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// What their script leaves, in the form in which Redis writes Lua's numbers: `at` may have an exponent.
async fn they_write(theirs: &mut MultiplexedConnection, key: &str, tokens: &str, at: &str) {
    let fields = [
        ("tokens", tokens),
        ("last_refill_ts", at),
        ("total_requests", "9"),
        ("allowed_requests", "8"),
    ];
    let () = theirs.hset_multiple(key, &fields).await.unwrap();
}

async fn take(ours: &RedisRateLimitStore, key: &str, rate: f64, capacity: u64, cost: u32) -> Decision {
    let quota = Quota::new(rate, capacity).unwrap();
    ours.take(&[Take::new(key, quota, cost)]).await.unwrap()[0]
}

/// So slow that a test gains nothing.
const SLOW: f64 = 0.000_1;

#[tokio::test]
async fn their_tokens_are_counted_in_every_form_that_they_have() {
    let Some((ours, mut theirs, key)) = beside_gochat().await else {
        return;
    };
    let plain = nanos().to_string();
    let exponent = format!("{:e}", nanos() as f64).replace('e', "e+");
    for (tokens, at, whole) in [
        ("3", &plain, 3),
        ("3.5", &plain, 3),
        ("3.9990000000000001", &plain, 3),
        ("59", &exponent, 59),
        ("9.9999999999999995e-07", &exponent, 0),
        ("-2.25", &exponent, 0),
        ("1e+300", &plain, 60),
    ] {
        they_write(&mut theirs, &key, tokens, at).await;
        if whole < 60 {
            let denied = take(&ours, &key, SLOW, 60, whole + 1).await;
            assert!(!denied.allowed, "{tokens}: {denied:?}");
        }
        if whole > 0 {
            let allowed = take(&ours, &key, SLOW, 60, whole).await;
            assert_eq!((allowed.allowed, allowed.remaining), (true, 0), "{tokens}");
        }
    }
}

#[tokio::test]
async fn what_was_gained_since_they_wrote_is_counted_to_the_nanoseconds_they_keep() {
    let Some((ours, mut theirs, key)) = beside_gochat().await else {
        return;
    };
    let at = (nanos() - 20_000_000_000).to_string();
    they_write(&mut theirs, &key, "1", &at).await;
    let decision = take(&ours, &key, 1.0, 60, 1).await;
    assert!((20..=22).contains(&decision.remaining), "{decision:?}");
    // A clock ahead of the server's gains nothing and takes nothing away.
    let at = (nanos() + 20_000_000_000).to_string();
    they_write(&mut theirs, &key, "5.5", &at).await;
    let decision = take(&ours, &key, 1.0, 60, 1).await;
    assert_eq!((decision.allowed, decision.remaining), (true, 4));
    let written: String = theirs.hget(&key, "last_refill_ts").await.unwrap();
    let ahead = i128::from(written.parse::<i64>().unwrap()) - nanos();
    assert!(
        ahead > 10_000_000_000,
        "our clock turned theirs back: {ahead} ns ahead"
    );
}

#[tokio::test]
async fn what_we_write_is_what_they_look_for() {
    let Some((ours, mut theirs, key)) = beside_gochat().await else {
        return;
    };
    they_write(&mut theirs, &key, "60", &nanos().to_string()).await;
    assert!(take(&ours, &key, SLOW, 60, 7).await.allowed);
    let (tokens, at): (f64, f64) = theirs.hmget(&key, &["tokens", "last_refill_ts"]).await.unwrap();
    assert!((53.0..53.01).contains(&tokens), "{tokens}");
    assert!(
        (at - nanos() as f64).abs() < 10e9,
        "{at} is not now in nanoseconds"
    );
    let counted: (i64, i64) = theirs
        .hmget(&key, &["total_requests", "allowed_requests"])
        .await
        .unwrap();
    assert_eq!(counted, (9, 8), "their statistics are theirs");
    // A take of theirs leaves the expiry alone, so one that comes at once would give its user a fresh quota.
    let expiry: i64 = theirs.pttl(&key).await.unwrap();
    let full_after = Duration::from_secs_f64(7.0 / SLOW).as_millis() as i64;
    assert!(
        expiry > full_after + 3_500_000,
        "expires {expiry} ms after the take"
    );
}

#[tokio::test]
async fn a_limiter_and_a_go_service_name_a_bucket_alike() {
    let Some((ours, mut theirs, _)) = beside_gochat().await else {
        return;
    };
    let service = unique("im-gateway");
    let key = format!("ratelimit:{service}:send_message:user:123");
    they_write(&mut theirs, &key, "1.5", &nanos().to_string()).await;
    let config = RateLimitConfig::production()
        .with_service(service)
        .with_mode(Mode::Distributed)
        .with_compat(Compat::GoChat)
        .with_store_timeout(Duration::from_secs(30))
        .with_rule("send_message", Rule::new(SLOW, 60));
    let store = LimiterDependencies::new().with_store(std::sync::Arc::new(ours));
    let limiter = Limiter::new(config, store).unwrap();
    let allowed = [
        limiter.check("user:123", "send_message").await.unwrap().allowed,
        limiter.check("user:123", "send_message").await.unwrap().allowed,
    ];
    assert_eq!(allowed, [true, false], "of one and a half tokens");
}
