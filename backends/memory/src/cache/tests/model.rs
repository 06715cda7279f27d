//! Random sequences of operations against a model that is too simple to be wrong.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use infra_core::cache::{
    CompareAndSet, Expected, KeyValue, Keys, Order, RankRange, ScoreRange, Scored, SortedSets,
};
use infra_core::{ErrorKind, Result, Ttl};
use proptest::prelude::*;
use tokio::time::Instant;

use crate::MemoryCache;

#[derive(Debug, Clone)]
enum Step {
    Get(u8),
    Set(u8, i8, Option<u8>),
    SetIfAbsent(u8, i8, Option<u8>),
    CompareAndSet(u8, Option<i8>, i8),
    CompareAndDelete(u8, i8),
    Incr(u8, i64),
    Delete(u8),
    Expire(u8, Option<u8>),
    TimeToLive(u8),
    Add(u8, u8, i8),
    Remove(u8, u8),
    RemoveByRank(u8, i8, i8),
    Range(u8, i8, i8, bool),
    ByScore(u8, i8, i8, bool),
    Wait(u8),
    Scan,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..4_u8;
    let ttl = proptest::option::of(1..20_u8);
    let difference = prop_oneof![-3..3_i64, Just(i64::MAX)];
    let step = prop_oneof![
        key.clone().prop_map(Step::Get),
        (key.clone(), any::<i8>(), ttl.clone()).prop_map(|(k, v, t)| Step::Set(k, v, t)),
        (key.clone(), any::<i8>(), ttl.clone()).prop_map(|(k, v, t)| Step::SetIfAbsent(k, v, t)),
        (key.clone(), proptest::option::of(-2..2_i8), -2..2_i8)
            .prop_map(|(k, e, v)| Step::CompareAndSet(k, e, v)),
        (key.clone(), -2..2_i8).prop_map(|(k, v)| Step::CompareAndDelete(k, v)),
        (key.clone(), difference).prop_map(|(k, d)| Step::Incr(k, d)),
        key.clone().prop_map(Step::Delete),
        (key.clone(), ttl).prop_map(|(k, t)| Step::Expire(k, t)),
        key.clone().prop_map(Step::TimeToLive),
        (key.clone(), 0..8_u8, -3..3_i8).prop_map(|(k, m, s)| Step::Add(k, m, s)),
        (key.clone(), 0..8_u8).prop_map(|(k, m)| Step::Remove(k, m)),
        (key.clone(), -9..9_i8, -9..9_i8).prop_map(|(k, a, b)| Step::RemoveByRank(k, a, b)),
        (key.clone(), -9..9_i8, -9..9_i8, any::<bool>()).prop_map(|(k, a, b, d)| Step::Range(k, a, b, d)),
        (key, -4..4_i8, -4..4_i8, any::<bool>()).prop_map(|(k, a, b, d)| Step::ByScore(k, a, b, d)),
        (1..10_u8).prop_map(Step::Wait),
        Just(Step::Scan),
    ];
    proptest::collection::vec(step, 1..120)
}

#[derive(Debug, Clone)]
enum Stored {
    Text(Bytes),
    Sorted(BTreeMap<Bytes, i8>),
}

/// What the cache should do, written for clarity alone.
#[derive(Debug, Default)]
struct Model {
    keys: HashMap<String, (Stored, Option<Instant>)>,
}

const CONFLICT: ErrorKind = ErrorKind::Conflict;

impl Model {
    fn forget_expired(&mut self) {
        let now = Instant::now();
        self.keys
            .retain(|_, (_, deadline)| deadline.is_none_or(|deadline| now < deadline));
    }

    fn text(&self, key: &str) -> Result<Option<Bytes>, ErrorKind> {
        match self.keys.get(key) {
            None => Ok(None),
            Some((Stored::Text(bytes), _)) => Ok(Some(bytes.clone())),
            Some(_) => Err(CONFLICT),
        }
    }

    fn put(&mut self, key: &str, value: Bytes, ttl: Ttl) {
        let deadline = ttl.duration().map(|ttl| Instant::now() + ttl);
        self.keys.insert(key.to_owned(), (Stored::Text(value), deadline));
    }

    fn incr(&mut self, key: &str, difference: i64) -> Result<i64, ErrorKind> {
        let current: i64 = match self.text(key)? {
            None => 0,
            Some(bytes) => std::str::from_utf8(&bytes).unwrap().parse().unwrap(),
        };
        let sum = current.checked_add(difference).ok_or(CONFLICT)?;
        let deadline = self.keys.get(key).and_then(|(_, deadline)| *deadline);
        self.keys
            .insert(key.to_owned(), (Stored::Text(sum.to_string().into()), deadline));
        Ok(sum)
    }

    /// The members in ascending order.
    fn members(&self, key: &str) -> Result<Vec<(i8, Bytes)>, ErrorKind> {
        match self.keys.get(key) {
            None => Ok(Vec::new()),
            Some((Stored::Text(_), _)) => Err(CONFLICT),
            Some((Stored::Sorted(set), _)) => {
                let mut members: Vec<_> = set.iter().map(|(m, s)| (*s, m.clone())).collect();
                members.sort();
                Ok(members)
            }
        }
    }

    fn with_set<R>(&mut self, key: &str, change: impl FnOnce(&mut BTreeMap<Bytes, i8>) -> R) -> R {
        let (stored, _) = self
            .keys
            .entry(key.to_owned())
            .or_insert_with(|| (Stored::Sorted(BTreeMap::new()), None));
        let Stored::Sorted(set) = stored else {
            unreachable!("checked before")
        };
        let result = change(set);
        if set.is_empty() {
            self.keys.remove(key);
        }
        result
    }
}

fn value(number: i8) -> Bytes {
    number.to_string().into()
}

fn time_to_live(milliseconds: Option<u8>) -> Ttl {
    milliseconds.map_or(Ttl::Never, |ms| Ttl::millis(ms.into()))
}

fn rank_range(start: i8, stop: i8, descending: bool) -> RankRange {
    let mut range = RankRange::new(start.into(), stop.into());
    if descending {
        range.order = Order::Descending;
    }
    range
}

fn ranked(mut members: Vec<(i8, Bytes)>, range: RankRange) -> Vec<Scored> {
    if range.order == Order::Descending {
        members.reverse();
    }
    let positions = range.positions(members.len());
    scored(positions.map(|p| members[p].to_vec()).unwrap_or_default())
}

fn scored(members: Vec<(i8, Bytes)>) -> Vec<Scored> {
    members
        .into_iter()
        .map(|(score, member)| Scored::new(member, score.into()))
        .collect()
}

/// Compares the cache's answer with the model's, errors by their kind.
macro_rules! same {
    ($cache:expr, $model:expr) => {{
        let model: Result<_, ErrorKind> = $model;
        prop_assert_eq!($cache.map_err(|error| error.kind()), model);
    }};
}

async fn check(cache: &MemoryCache, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    model.forget_expired();
    let name = |key: u8| format!("k{key}");
    match step {
        Step::Get(key) => same!(cache.get(&name(key)).await, model.text(&name(key))),
        Step::Set(key, number, ttl) => {
            cache
                .set(&name(key), value(number), time_to_live(ttl))
                .await
                .unwrap();
            model.put(&name(key), value(number), time_to_live(ttl));
        }
        Step::SetIfAbsent(key, number, ttl) => {
            let (key, ttl) = (name(key), time_to_live(ttl));
            let absent = !model.keys.contains_key(&key);
            same!(cache.set_if_absent(&key, value(number), ttl).await, Ok(absent));
            if absent {
                model.put(&key, value(number), ttl);
            }
        }
        Step::CompareAndSet(key, expected, number) => {
            compare_and_set(cache, model, &name(key), expected, number).await?
        }
        Step::CompareAndDelete(key, number) => {
            let expected = model
                .text(&name(key))
                .map(|current| current == Some(value(number)));
            same!(
                cache.compare_and_delete(&name(key), value(number)).await,
                expected
            );
            if expected == Ok(true) {
                model.keys.remove(&name(key));
            }
        }
        Step::Incr(key, by) => same!(cache.incr_by(&name(key), by).await, model.incr(&name(key), by)),
        Step::Delete(key) => {
            let there = u64::from(model.keys.remove(&name(key)).is_some());
            same!(cache.delete(&[&name(key)]).await, Ok(there));
        }
        Step::Expire(key, ttl) => {
            let ttl = time_to_live(ttl);
            let entry = model.keys.get_mut(&name(key));
            same!(cache.expire(&name(key), ttl).await, Ok(entry.is_some()));
            if let Some((_, deadline)) = entry {
                *deadline = ttl.duration().map(|ttl| Instant::now() + ttl);
            }
        }
        Step::TimeToLive(key) => {
            let ttl = model.keys.get(&name(key)).map(|(_, deadline)| {
                deadline.map_or(Ttl::Never, |deadline| Ttl::After(deadline - Instant::now()))
            });
            same!(cache.ttl(&name(key)).await, Ok(ttl));
        }
        Step::Wait(ms) => tokio::time::advance(Duration::from_millis(ms.into())).await,
        Step::Scan => {
            let mut keys: Vec<_> = model.keys.keys().cloned().collect();
            keys.sort();
            same!(cache.scan("k", None, 10).await.map(|page| page.keys), Ok(keys));
        }
        step => check_sorted(cache, model, step).await?,
    }
    Ok(())
}

async fn compare_and_set(
    cache: &MemoryCache,
    model: &mut Model,
    key: &str,
    expected: Option<i8>,
    number: i8,
) -> Result<(), TestCaseError> {
    let current = model.text(key);
    let matches = current == Ok(expected.map(value));
    let outcome = current.map(|current| match matches {
        true => CompareAndSet::Stored,
        false => CompareAndSet::Mismatch { current },
    });
    let expected = expected.map_or(Expected::Absent, |number| Expected::Value(value(number)));
    same!(
        cache
            .compare_and_set(key, expected, value(number), Ttl::Never)
            .await,
        outcome
    );
    if matches {
        model.put(key, value(number), Ttl::Never);
    }
    Ok(())
}

async fn check_sorted(cache: &MemoryCache, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    let name = |key: u8| format!("k{key}");
    let member = |number: u8| Bytes::from(vec![number]);
    match step {
        Step::Add(key, number, score) => {
            let expected = model.members(&name(key)).map(|_| {
                let before = model.with_set(&name(key), |set| set.insert(member(number), score));
                u64::from(before.is_none())
            });
            let added = Scored::new(member(number), score.into());
            same!(cache.sorted_add(&name(key), &[added]).await, expected);
        }
        Step::Remove(key, number) => {
            let expected = model.members(&name(key)).map(|_| {
                let before = model.with_set(&name(key), |set| set.remove(&member(number)));
                u64::from(before.is_some())
            });
            same!(cache.sorted_remove(&name(key), &[member(number)]).await, expected);
        }
        Step::RemoveByRank(key, start, stop) => {
            let range = rank_range(start, stop, false);
            let expected = model.members(&name(key)).map(|members| {
                let removed = ranked(members, range);
                model.with_set(&name(key), |set| {
                    for scored in &removed {
                        set.remove(&scored.member);
                    }
                });
                removed.len() as u64
            });
            same!(cache.sorted_remove_by_rank(&name(key), range).await, expected);
        }
        Step::Range(key, start, stop, descending) => {
            let range = rank_range(start, stop, descending);
            let expected = model.members(&name(key)).map(|members| ranked(members, range));
            same!(cache.sorted_range(&name(key), range).await, expected);
        }
        Step::ByScore(key, min, max, descending) => {
            let mut range = ScoreRange::between(min.into(), max.into());
            let mut expected = model.members(&name(key)).map(|mut members| {
                members.retain(|(score, _)| (min..=max).contains(score));
                scored(members)
            });
            if descending {
                range = range.descending();
                if let Ok(expected) = &mut expected {
                    expected.reverse();
                }
            }
            same!(
                cache.sorted_count(&name(key), range).await,
                expected.clone().map(|members| members.len() as u64)
            );
            same!(cache.sorted_range_by_score(&name(key), range).await, expected);
        }
        other => prop_assert!(false, "{other:?} is no step of a sorted set"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn the_cache_does_what_the_model_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let cache = MemoryCache::new();
            let mut model = Model::default();
            for step in steps {
                check(&cache, &mut model, step).await?;
            }
            Ok::<(), TestCaseError>(())
        })?;
    }
}
