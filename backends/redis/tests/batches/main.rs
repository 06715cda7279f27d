//! Batches and raw scripts on a real Redis: what the conformance suite does not ask of every backend.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

mod beside_memory;
mod permissions;
mod raw;

use infra_core::assembly::BackendOptions;
use infra_core::cache::{
    Batch, BatchOutcome, Hashes, KeyValue, Keys, Operation, OperationResult, Script, Scripts, Sets,
};
use infra_core::config::BackendUrl;
use infra_core::{ErrorKind, Ttl};
use infra_redis::{RedisCache, RedisConfig, TwoTierConfig};
use infra_testkit::{servers, unique};

/// A client of this server with keys of its own; nothing where the server is missing.
pub(crate) async fn cache(server: &str) -> Option<RedisCache> {
    // One hash tag, so that a cluster has them all in one slot.
    cache_below(server, format!("{{{}}}:", unique("batches"))).await
}

/// A client whose keys begin so.
pub(crate) async fn cache_below(server: &str, prefix: String) -> Option<RedisCache> {
    Some(cache_at(&servers::require(server)?, prefix).await)
}

pub(crate) async fn cache_at(url: &str, prefix: String) -> RedisCache {
    let mut config = RedisConfig::development();
    let url = BackendUrl::parse(url).expect("a URL");
    config.take_url(&url).expect("a URL of Redis");
    let connected = RedisCache::connect(config.with_key_prefix(prefix)).await;
    connected.expect("connected")
}

pub(crate) fn batch(operations: impl IntoIterator<Item = Operation>) -> Batch {
    operations.into_iter().fold(Batch::new(), Batch::then)
}

fn set(key: &str, value: &str) -> Operation {
    Operation::Set(key.to_owned(), value.to_owned().into(), Ttl::Never)
}

fn add(key: &str, difference: i64) -> Operation {
    Operation::IncrBy(key.to_owned(), difference)
}

#[tokio::test]
async fn numbers_keep_all_their_digits() {
    let Some(cache) = cache("redis").await else { return };
    let outcome = cache
        .atomically(batch([
            set("n", "9007199254740993"),
            add("n", 0),
            add("n", i64::MAX - 9_007_199_254_740_993),
            set("m", &i64::MIN.to_string()),
            add("m", i64::MAX),
        ]))
        .await;
    let number = OperationResult::Number;
    let expected = BatchOutcome::Applied(vec![
        OperationResult::Done,
        number(9_007_199_254_740_993),
        number(i64::MAX),
        OperationResult::Done,
        number(-1),
    ]);
    assert_eq!(outcome.unwrap(), expected);
}

#[tokio::test]
async fn a_sum_that_overflows_undoes_the_steps_before_it_with_their_times_to_live() {
    for server in ["redis", "redis-cluster"] {
        let Some(cache) = cache(server).await else { return };
        cache
            .set("n", (i64::MAX - 1).to_string().into(), Ttl::secs(600))
            .await
            .unwrap();
        cache.hash_set("h", &[("f", "1".into())]).await.unwrap();
        cache.set("t", "old".into(), Ttl::secs(600)).await.unwrap();
        let error = cache
            .atomically(batch([
                add("n", 1),
                set("new", "1"),
                Operation::HashSet(
                    "h".into(),
                    vec![("f".into(), "2".into()), ("g".into(), "2".into())],
                ),
                set("t", "new"),
                add("n", 1),
                set("after", "1"),
            ]))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
        assert!(
            error.had_no_effect() && error.to_string().contains("step 4"),
            "{error:?}"
        );
        assert_eq!(cache.get("n").await.unwrap().unwrap(), (i64::MAX - 1).to_string());
        assert!(!cache.exists("new").await.unwrap() && !cache.exists("after").await.unwrap());
        assert_eq!(cache.hash_get("h", "f").await.unwrap().unwrap(), "1");
        assert_eq!(cache.hash_len("h").await.unwrap(), 1);
        assert_eq!(cache.get("t").await.unwrap().unwrap(), "old");
        assert!(matches!(cache.ttl("t").await.unwrap(), Some(Ttl::After(left)) if left.as_secs() > 500));
        assert_eq!(cache.ttl("h").await.unwrap(), Some(Ttl::Never));
    }
}

#[tokio::test]
async fn a_set_that_the_batch_empties_may_become_another_type_and_else_nothing_is_changed() {
    let Some(cache) = cache("redis").await else { return };
    let swap = || {
        batch([
            set("other", "1"),
            Operation::SetRemove("s".into(), vec!["a".into()]),
            add("s", 7),
        ])
    };
    cache.set_add("s", &["a".into(), "b".into()]).await.unwrap();
    let error = cache.atomically(swap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert_eq!(cache.set_len("s").await.unwrap(), 2);
    assert!(!cache.exists("other").await.unwrap());
    cache.set_remove("s", &["b".into()]).await.unwrap();
    assert!(matches!(
        cache.atomically(swap()).await.unwrap(),
        BatchOutcome::Applied(_)
    ));
    assert_eq!(cache.get("s").await.unwrap().unwrap(), "7");
}

#[tokio::test]
async fn a_step_takes_more_members_than_a_command_of_a_script_can_have() {
    let Some(cache) = cache("redis").await else { return };
    let count = 25_001;
    let fields = (0..count).map(|number| (format!("f{number}"), number.to_string().into()));
    let members = (0..count).map(|number| format!("m{number}").into());
    let outcome = cache
        .atomically(batch([
            Operation::HashSet("h".into(), fields.collect()),
            Operation::SetAdd("s".into(), members.collect()),
            Operation::SetAdd("nothing".into(), Vec::new()),
        ]))
        .await;
    let counted = [count, count, 0].map(OperationResult::Number);
    assert_eq!(outcome.unwrap(), BatchOutcome::Applied(counted.to_vec()));
    assert_eq!(cache.hash_get("h", "f25000").await.unwrap().unwrap(), "25000");
}

#[tokio::test]
async fn a_batch_survives_that_the_server_forgets_all_scripts() {
    let Some(cache) = cache("redis").await else { return };
    for round in 1..=3 {
        let outcome = cache.atomically(batch([add("n", 1)])).await.unwrap();
        assert_eq!(
            outcome,
            BatchOutcome::Applied(vec![OperationResult::Number(round)])
        );
        // Every test of this server copes with that.
        let url = servers::url("redis").unwrap();
        let bare = infra_redis::redis::Client::open(url).unwrap();
        let mut connection = bare.get_multiplexed_async_connection().await.unwrap();
        infra_redis::redis::cmd("SCRIPT")
            .arg("FLUSH")
            .exec_async(&mut connection)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_client_that_keeps_values_reads_what_its_own_batches_and_scripts_wrote() {
    let Some(url) = servers::require("redis") else {
        return;
    };
    let mut config = RedisConfig::development().with_two_tier(TwoTierConfig::new());
    config.take_url(&BackendUrl::parse(&url).unwrap()).unwrap();
    let cache = RedisCache::connect(config.with_key_prefix(unique("kept")))
        .await
        .unwrap();
    for round in 0..50 {
        let (batched, scripted) = (format!("batch {round}"), format!("script {round}"));
        cache.atomically(batch([set("k", &batched)])).await.unwrap();
        assert_eq!(cache.get("k").await.unwrap().unwrap(), batched);
        let script = Script::new("return redis.call('SET', KEYS[1], ARGV[1])");
        cache
            .run_script(&script, &["k"], &[scripted.clone().into()])
            .await
            .unwrap();
        assert_eq!(cache.get("k").await.unwrap().unwrap(), scripted);
    }
}
