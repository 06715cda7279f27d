//! Writers and readers on several threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use infra_core::Ttl;
use infra_core::cache::{
    Batch, BatchOutcome, Check, CompareAndSet, Expected, KeyValue, Keys, Operation, RankRange, Scored,
    Scripts, Sets, SortedSets,
};
use tokio::task::JoinSet;

use super::bytes;
use crate::MemoryCache;

const TASKS: u32 = 8;
const ROUNDS: u32 = 500;

async fn on_all_tasks<F>(work: impl Fn(u32) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks: JoinSet<()> = (0..TASKS).map(work).collect();
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_increment_is_lost() {
    let cache = MemoryCache::new();
    on_all_tasks(|_| {
        let cache = cache.clone();
        async move {
            for _ in 0..ROUNDS {
                cache.incr_by("n", 1).await.unwrap();
            }
        }
    })
    .await;
    assert_eq!(cache.incr_by("n", 0).await.unwrap(), i64::from(TASKS * ROUNDS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_task_wins_each_round_of_compare_and_set() {
    let cache = MemoryCache::new();
    on_all_tasks(|task| {
        let cache = cache.clone();
        async move {
            for round in 0..ROUNDS {
                let won = cache
                    .compare_and_set(
                        &format!("r{round}"),
                        Expected::Absent,
                        task.to_string().into(),
                        Ttl::Never,
                    )
                    .await
                    .unwrap();
                if won == CompareAndSet::Stored {
                    cache.incr_by("wins", 1).await.unwrap();
                }
            }
        }
    })
    .await;
    assert_eq!(cache.incr_by("wins", 0).await.unwrap(), i64::from(ROUNDS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_plain_set_does_not_slip_into_an_increment() {
    const STEP: i64 = 1_000_000;
    let cache = MemoryCache::new();
    on_all_tasks(|task| {
        let cache = cache.clone();
        async move {
            for round in 1..=i64::from(ROUNDS) {
                if task > 0 {
                    cache.incr_by("k", 1).await.unwrap();
                    continue;
                }
                // An increment that had read the number before this would put an old, smaller one back.
                let base = round * STEP;
                cache.set("k", base.to_string().into(), Ttl::Never).await.unwrap();
                tokio::task::yield_now().await;
                let now = cache.incr_by("k", 0).await.unwrap();
                assert!((base..base + STEP).contains(&now), "{now} after {base}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_over_crossing_keys_move_without_loss_or_deadlock() {
    let cache = MemoryCache::new();
    for account in 0..4 {
        cache.incr_by(&format!("a{account}"), 1000).await.unwrap();
    }
    on_all_tasks(|task| {
        let cache = cache.clone();
        async move {
            for round in 0..ROUNDS {
                let (from, to) = (format!("a{}", (task + round) % 4), format!("a{}", round % 4));
                let batch = Batch::new()
                    .when(Check::Exists(from.clone()))
                    .then(Operation::IncrBy(from, -1))
                    .then(Operation::IncrBy(to, 1));
                assert!(matches!(
                    cache.atomically(batch).await.unwrap(),
                    BatchOutcome::Applied(_)
                ));
            }
        }
    })
    .await;
    let mut total = 0;
    for account in 0..4 {
        total += cache.incr_by(&format!("a{account}"), 0).await.unwrap();
    }
    assert_eq!(total, 4000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_never_sees_half_a_batch_nor_one_that_failed() {
    let cache = MemoryCache::new();
    cache.set("text", bytes("x"), Ttl::Never).await.unwrap();
    cache.sorted_add("z", &[Scored::new("0", 0.0)]).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (cache, done) = (cache.clone(), Arc::clone(&done));
        async move {
            for round in 1..=4 * ROUNDS {
                let step = Batch::new()
                    .then(Operation::IncrBy("first".into(), 1))
                    .then(Operation::SortedAdd(
                        "z".into(),
                        vec![Scored::new(round.to_string(), f64::from(round))],
                    ))
                    .then(Operation::SortedRemoveByRank("z".into(), RankRange::new(0, -2)));
                cache
                    .atomically(step.clone().then(Operation::IncrBy("second".into(), 1)))
                    .await
                    .unwrap();
                let failed = step
                    .then(Operation::SetAdd("never".into(), vec![bytes("m")]))
                    .then(Operation::IncrBy("text".into(), 1));
                cache.atomically(failed).await.unwrap_err();
            }
            done.store(true, Ordering::SeqCst);
        }
    });
    let number = |value: Option<bytes::Bytes>| -> u64 {
        value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap())
    };
    while !done.load(Ordering::SeqCst) {
        let first = number(cache.get("first").await.unwrap());
        let second = number(cache.get("second").await.unwrap());
        assert!(second >= first, "saw {first}, and only {second} afterwards");
        assert_eq!(cache.sorted_len("z").await.unwrap(), 1, "saw an untrimmed set");
        assert_eq!(cache.set_len("never").await.unwrap(), 0);
        assert!(!cache.exists("never").await.unwrap());
    }
    writer.await.unwrap();
}
