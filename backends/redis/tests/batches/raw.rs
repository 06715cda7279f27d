//! Scripts that callers wrote.

use bytes::Bytes;
use infra_core::cache::{KeyValue, Script, ScriptValue, Scripts};
use infra_core::{ErrorKind, Ttl};
use infra_testkit::unique;

use crate::{cache, cache_below};

async fn run(cache: &dyn Scripts, source: &'static str) -> Result<ScriptValue, infra_core::Error> {
    cache
        .run_script(&Script::new(source), &["k"], &[Bytes::from_static(b"hunter2")])
        .await
}

#[tokio::test]
async fn replies_of_both_protocols_have_values() {
    let Some(cache) = cache("redis").await else { return };
    let bytes = |text: &'static str| ScriptValue::Bytes(Bytes::from_static(text.as_bytes()));
    for (source, expected) in [
        ("return", ScriptValue::Null),
        (
            "return 9007199254740992",
            ScriptValue::Integer(9_007_199_254_740_992),
        ),
        ("return {ok = 'fine'}", bytes("fine")),
        ("return true", ScriptValue::Integer(1)),
        ("redis.setresp(3) return true", ScriptValue::Integer(1)),
        ("redis.setresp(3) return {double = 0.5}", bytes("0.5")),
        (
            "redis.setresp(3) return {map = {a = 1}}",
            ScriptValue::List(vec![bytes("a"), ScriptValue::Integer(1)]),
        ),
        (
            "redis.setresp(3) return {set = {a = true}}",
            ScriptValue::List(vec![bytes("a")]),
        ),
    ] {
        assert_eq!(run(&cache, source).await.unwrap(), expected, "{source}");
    }
}

#[tokio::test]
async fn errors_have_a_kind_and_quote_nothing() {
    for server in ["redis", "redis-cluster"] {
        let Some(cache) = cache(server).await else { return };
        cache.set("k", "text".into(), Ttl::secs(60)).await.unwrap();
        for (source, kind) in [
            ("return (", ErrorKind::InvalidArgument),
            ("return redis.call('HGET', KEYS[1], ARGV[1])", ErrorKind::Conflict),
            (
                "return redis.call('INCRBY', KEYS[1], ARGV[1])",
                ErrorKind::Conflict,
            ),
            ("\nerror(ARGV[1])", ErrorKind::Internal),
            (
                "return redis.error_reply(ARGV[1] .. ' is wrong')",
                ErrorKind::Internal,
            ),
            ("return {1, {err = ARGV[1] .. ' is wrong'}}", ErrorKind::Internal),
            ("return redis.call('NONSENSE', ARGV[1])", ErrorKind::Internal),
            ("return nonsense.of[ARGV[1]]", ErrorKind::Internal),
        ] {
            let error = run(&cache, source).await.unwrap_err();
            let said = format!("{error} {error:?}");
            assert_eq!(error.kind(), kind, "{source}: {said}");
            assert!(!said.contains("hunter"), "{source}: {said}");
        }
        let said = run(&cache, "\nerror(ARGV[1])").await.unwrap_err().to_string();
        assert!(said.contains("line 2"), "{said}");
    }
}

#[tokio::test]
async fn keys_of_several_slots_are_refused_before_the_cluster_is_asked() {
    let Some(cache) = cache("redis-cluster").await else {
        return;
    };
    let untagged = cache_below("redis-cluster", unique("raw")).await.expect("there");
    let script = Script::new("return #KEYS");
    assert_eq!(
        cache.run_script(&script, &["a", "b", "c"], &[]).await.unwrap(),
        ScriptValue::Integer(3)
    );
    let error = untagged
        .run_script(&script, &["a", "b", "c"], &[])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    assert_eq!(
        untagged.run_script(&script, &[], &[]).await.unwrap(),
        ScriptValue::Integer(0)
    );
}
