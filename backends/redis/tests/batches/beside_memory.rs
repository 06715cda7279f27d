//! Batches at random, on Redis and in memory: the same answers, and the same things left behind.

use bytes::Bytes;
use infra_core::cache::{
    Batch, BatchOutcome, Check, Hashes, KeyValue, Operation, Order, RankRange, Scored, Scripts, Sets,
    SortedSets,
};
use infra_core::{ErrorKind, Ttl};
use infra_memory::MemoryCache;
use infra_redis::RedisCache;

use crate::{batch, cache};

const ROUNDS: u64 = 400;
const KEYS: [&str; 3] = ["{t}a", "{t}b", "{t}c"];
const NUMBERS: [i64; 6] = [1, -1, 7, 100_000_000_000_000_000, i64::MAX, i64::MIN];
const VALUES: [&str; 9] = [
    "",
    "0",
    "5",
    "x",
    "12 ",
    "99999999999999999999",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
];

fn pick<T: Clone>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(..from.len())].clone()
}

fn step(random: &mut fastrand::Rng) -> Operation {
    let key = pick(random, &KEYS).to_owned();
    let member = |random: &mut fastrand::Rng| Bytes::from(pick(random, &["a", "b", "c"]));
    match random.u8(..12) {
        0 => Operation::Set(key, pick(random, &VALUES).into(), Ttl::Never),
        1 => Operation::Get(key),
        2 | 3 => Operation::IncrBy(key, pick(random, &NUMBERS)),
        4 => Operation::Delete(key),
        5 => Operation::Expire(key, pick(random, &[Ttl::Never, Ttl::secs(600)])),
        6 => Operation::HashSet(key, vec![(pick(random, &["f", "g"]).to_owned(), member(random))]),
        7 => Operation::SetAdd(key, vec![member(random)]),
        8 => Operation::SetRemove(key, vec![member(random), member(random)]),
        9 | 10 => Operation::SortedAdd(key, vec![Scored::new(member(random), f64::from(random.u8(..3)))]),
        _ => {
            let mut range = RankRange::new(random.i64(-3..3), random.i64(-3..3));
            range.order = pick(random, &[Order::Ascending, Order::Descending]);
            Operation::SortedRemoveByRank(key, range)
        }
    }
}

fn check(random: &mut fastrand::Rng) -> Check {
    let key = pick(random, &KEYS).to_owned();
    match random.u8(..3) {
        0 => Check::Exists(key),
        1 => Check::Absent(key),
        _ => Check::Equals(key, pick(random, &VALUES).into()),
    }
}

fn any_batch(random: &mut fastrand::Rng) -> Batch {
    let steps = random.usize(1..8);
    let batch = batch((0..steps).map(|_| step(random)));
    if random.u8(..4) == 0 {
        return batch.when(check(random));
    }
    batch
}

async fn answer(cache: &dyn Scripts, batch: &Batch) -> Result<BatchOutcome, ErrorKind> {
    cache
        .atomically(batch.clone())
        .await
        .map_err(|error| error.kind())
}

/// What is under the keys, in every form in which it can be read.
async fn left<C: KeyValue + Hashes + Sets + SortedSets>(cache: &C) -> Vec<String> {
    let mut left = Vec::new();
    for key in KEYS {
        let mut members = cache.set_members(key).await.map_err(|error| error.kind());
        if let Ok(members) = &mut members {
            members.sort();
        }
        let ttl = cache.ttl(key).await.unwrap().map(|ttl| ttl == Ttl::Never);
        left.push(format!(
            "{key}: {:?} {:?} {members:?} {:?} never: {ttl:?}",
            cache.get(key).await.map_err(|error| error.kind()),
            cache.hash_get_all(key).await.map_err(|error| error.kind()),
            cache
                .sorted_range(key, RankRange::new(0, -1))
                .await
                .map_err(|error| error.kind()),
        ));
    }
    left
}

#[tokio::test]
async fn redis_and_memory_agree_on_any_batch() {
    let Some(redis): Option<RedisCache> = cache("redis").await else {
        return;
    };
    let memory = MemoryCache::new();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut refused = 0;
    for round in 0..ROUNDS {
        let batch = any_batch(&mut random);
        let (found, expected) = (answer(&redis, &batch).await, answer(&memory, &batch).await);
        assert_eq!(found, expected, "seed {seed}, round {round}: {batch:?}");
        refused += u32::from(found.is_err());
        assert_eq!(
            left(&redis).await,
            left(&memory).await,
            "seed {seed}, round {round}: {batch:?}"
        );
    }
    assert!(refused > 10, "seed {seed}: hardly a batch failed half-way");
}
