//! Batches: all or nothing.

use infra_core::cache::{
    Batch, BatchOutcome, Check, Hashes, KeyValue, Keys, Operation, OperationResult, RankRange, Scored,
    Script, Scripts, Sets, SortedSets,
};
use infra_core::capability::Capability;
use infra_core::{Backend, ErrorKind, Ttl};

use super::{bytes, kind, pass};
use crate::MemoryCache;

#[tokio::test(start_paused = true)]
async fn steps_see_those_before_them_and_report_in_order() {
    let cache = MemoryCache::new();
    let batch = Batch::new()
        .when(Check::Absent("n".into()))
        .then(Operation::IncrBy("n".into(), 2))
        .then(Operation::IncrBy("n".into(), 3))
        .then(Operation::Get("n".into()))
        .then(Operation::Set("s".into(), bytes("v"), Ttl::millis(5)))
        .then(Operation::Expire("n".into(), Ttl::millis(5)))
        .then(Operation::Expire("x".into(), Ttl::millis(5)))
        .then(Operation::HashSet("h".into(), vec![("f".into(), bytes("v"))]))
        .then(Operation::SetAdd("m".into(), vec![bytes("a"), bytes("b")]))
        .then(Operation::SetRemove("m".into(), vec![bytes("a")]))
        .then(Operation::SortedAdd("z".into(), vec![Scored::new("a", 1.0)]))
        .then(Operation::SortedRemoveByRank("z".into(), RankRange::ALL))
        .then(Operation::Delete("h".into()))
        .then(Operation::Get("x".into()));
    use OperationResult::{Done, Number, Value};
    let expected = vec![
        Number(2),
        Number(5),
        Value(Some(bytes("5"))),
        Done,
        Number(1),
        Number(0),
        Number(1),
        Number(2),
        Number(1),
        Number(1),
        Number(1),
        Number(1),
        Value(None),
    ];
    assert_eq!(
        cache.atomically(batch.clone()).await.unwrap(),
        BatchOutcome::Applied(expected)
    );
    assert!(!cache.exists("z").await.unwrap() && !cache.exists("h").await.unwrap());
    assert_eq!(cache.set_members("m").await.unwrap(), [bytes("b")]);
    assert_eq!(
        cache.atomically(batch).await.unwrap(),
        BatchOutcome::Refused { check: 0 }
    );
    pass(5).await;
    assert!(!cache.exists("n").await.unwrap() && !cache.exists("s").await.unwrap());
}

#[tokio::test]
async fn a_refused_check_changes_nothing_and_is_named() {
    let cache = MemoryCache::new();
    cache.set("a", bytes("1"), Ttl::Never).await.unwrap();
    let batch = Batch::new()
        .when(Check::Exists("a".into()))
        .when(Check::Equals("a".into(), bytes("2")))
        .when(Check::Exists("x".into()))
        .then(Operation::Delete("a".into()));
    assert_eq!(
        cache.atomically(batch).await.unwrap(),
        BatchOutcome::Refused { check: 1 }
    );
    assert!(cache.exists("a").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_failing_step_leaves_nothing_changed() {
    let cache = MemoryCache::new();
    cache.set("string", bytes("old"), Ttl::secs(9)).await.unwrap();
    cache.hash_set("hash", &[("a", bytes("1"))]).await.unwrap();
    cache.set_add("set", &[bytes("a")]).await.unwrap();
    cache
        .sorted_add("sorted", &[Scored::new("a", 1.0), Scored::new("b", 2.0)])
        .await
        .unwrap();
    cache.sorted_add("whole", &[Scored::new("a", 1.0)]).await.unwrap();
    let batch = Batch::new()
        .then(Operation::Set("string".into(), bytes("new"), Ttl::Never))
        .then(Operation::Set("fresh".into(), bytes("new"), Ttl::Never))
        .then(Operation::HashSet(
            "hash".into(),
            vec![("a".into(), bytes("2")), ("b".into(), bytes("2"))],
        ))
        .then(Operation::SetAdd("set".into(), vec![bytes("b")]))
        .then(Operation::SetRemove("set".into(), vec![bytes("a"), bytes("b")]))
        // The set is empty and gone by now, so the key takes another type.
        .then(Operation::HashSet("set".into(), vec![("f".into(), bytes("v"))]))
        .then(Operation::SortedAdd(
            "sorted".into(),
            vec![Scored::new("a", 9.0), Scored::new("c", 3.0)],
        ))
        .then(Operation::SortedRemoveByRank(
            "sorted".into(),
            RankRange::new(0, 0),
        ))
        .then(Operation::Delete("whole".into()))
        .then(Operation::SortedAdd("whole".into(), vec![Scored::new("z", 1.0)]))
        .then(Operation::Expire("hash".into(), Ttl::secs(1)))
        .then(Operation::IncrBy("sorted".into(), 1));
    assert_eq!(kind(cache.atomically(batch).await), ErrorKind::Conflict);

    assert_eq!(cache.get("string").await.unwrap(), Some(bytes("old")));
    assert_eq!(cache.ttl("string").await.unwrap(), Some(Ttl::secs(9)));
    assert!(!cache.exists("fresh").await.unwrap());
    assert_eq!(cache.hash_get("hash", "a").await.unwrap(), Some(bytes("1")));
    assert_eq!(cache.hash_len("hash").await.unwrap(), 1);
    assert_eq!(cache.ttl("hash").await.unwrap(), Some(Ttl::Never));
    assert_eq!(cache.set_members("set").await.unwrap(), [bytes("a")]);
    assert_eq!(
        cache.sorted_range("sorted", RankRange::ALL).await.unwrap(),
        [Scored::new("a", 1.0), Scored::new("b", 2.0)]
    );
    assert_eq!(
        cache.sorted_range("whole", RankRange::ALL).await.unwrap(),
        [Scored::new("a", 1.0)]
    );
}

#[tokio::test]
async fn arguments_are_refused_before_anything_is_done() {
    let cache = MemoryCache::new();
    let good = Batch::new().then(Operation::Set("k".into(), bytes("v"), Ttl::Never));
    let bad = [
        Operation::Get(String::new()),
        Operation::Set("k".into(), bytes("v"), Ttl::millis(0)),
        Operation::Expire("k".into(), Ttl::millis(0)),
        Operation::SortedAdd("z".into(), vec![Scored::new("a", f64::NAN)]),
        Operation::SetAdd("s".into(), vec![vec![0; 2 << 20].into()]),
        Operation::HashSet("s".into(), vec![("f".into(), vec![0; 2 << 20].into())]),
    ];
    for operation in bad {
        let batch = good.clone().then(operation);
        assert_eq!(kind(cache.atomically(batch).await), ErrorKind::InvalidArgument);
    }
    assert!(!cache.exists("k").await.unwrap());
}

#[tokio::test]
async fn scripts_are_refused_as_declared() {
    let cache = MemoryCache::new();
    assert!(!cache.capabilities().has(Capability::RawScripts));
    assert!(cache.capabilities().has(Capability::AtomicAcrossKeys));
    let ran = cache.run_script(&Script::new("return 1"), &[], &[]).await;
    assert_eq!(kind(ran), ErrorKind::Unsupported);
}
