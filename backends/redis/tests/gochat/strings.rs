//! Where strings and sorted sets lie: a colon is put between a prefix and a key, and forgotten for sorted sets.

use infra_core::Ttl;
use infra_core::cache::{
    Batch, BatchOutcome, Check, KeyValue, Operation, OperationResult, RankRange, Scored, Script, ScriptValue,
    Scripts, SortedSets,
};
use infra_redis::redis::AsyncCommands;

use crate::beside::beside_gochat;

#[tokio::test]
async fn a_prefix_gets_its_colon_before_strings() {
    let Some((ours, mut theirs, prefix)) = beside_gochat("strings").await else {
        return;
    };
    let () = theirs.set(format!("{prefix}:session:1"), "theirs").await.unwrap();
    assert_eq!(ours.get("session:1").await.unwrap().unwrap(), "theirs");
    ours.set("session:2", "ours".into(), Ttl::secs(60)).await.unwrap();
    let found: String = theirs.get(format!("{prefix}:session:2")).await.unwrap();
    assert_eq!(found, "ours");
    let script = Script::new("return redis.call('GET', KEYS[1])");
    let found = ours.run_script(&script, &["session:1"], &[]).await.unwrap();
    assert_eq!(found, ScriptValue::Bytes("theirs".into()));
}

#[tokio::test]
async fn and_none_before_sorted_sets_alone_or_in_a_batch() {
    let Some((ours, mut theirs, prefix)) = beside_gochat("sorted").await else {
        return;
    };
    let () = theirs.zadd(format!("{prefix}recent"), "m1", 1.0).await.unwrap();
    let found = ours.sorted_range("recent", RankRange::new(0, -1)).await.unwrap();
    assert_eq!(found, [Scored::new("m1", 1.0)]);
    let () = theirs.set(format!("{prefix}:count"), "5").await.unwrap();
    let batch = Batch::new()
        .when(Check::Equals("count".into(), "5".into()))
        .then(Operation::SortedAdd(
            "recent".into(),
            vec![Scored::new("m2", 2.0)],
        ))
        .then(Operation::SortedRemoveByRank(
            "recent".into(),
            RankRange::new(0, 0),
        ))
        .then(Operation::IncrBy("count".into(), 1));
    let numbers = [1, 1, 6].map(OperationResult::Number);
    assert_eq!(
        ours.atomically(batch).await.unwrap(),
        BatchOutcome::Applied(numbers.to_vec())
    );
    let left: Vec<String> = theirs.zrange(format!("{prefix}recent"), 0, -1).await.unwrap();
    assert_eq!(left, ["m2"]);
}
