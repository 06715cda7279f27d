//! What can be done to a cache, in a form that is short to read.

use std::fmt;

use infra_core::cache::{Order, RankRange, ScoreBound, ScoreRange};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, any};
use proptest::sample::select;
use proptest::strategy::{BoxedStrategy, Strategy, Union};

/// A key without the namespace. Some begin with others, and with characters that mean something to patterns.
pub(super) type Key = &'static str;

const KEYS: [Key; 5] = ["a", "ab", "a*", "b", "b%"];

/// Members, fields and values.
const WORDS: [&str; 5] = ["1", "2", "-7", "x", ""];

/// Scores with ties and both ends.
const SCORES: [f64; 6] = [f64::NEG_INFINITY, -1.5, 0.0, 1.0, 2.0, f64::INFINITY];

/// A time to live in units; `None` for ever.
pub(super) type Life = Option<u8>;

#[derive(Clone)]
pub(super) enum Step {
    Wait(u8),
    Delete(Vec<Key>),
    Exists(Key),
    Expire(Key, Life),
    Left(Key),
    Scan(&'static str, usize),
    DeletePrefix(&'static str),
    Get(Key),
    GetMany(Vec<Key>),
    Set(Key, &'static str, Life),
    SetMany(Vec<(Key, &'static str)>, Life),
    SetIfAbsent(Key, &'static str, Life),
    GetSet(Key, &'static str, Life),
    CompareAndSet(Key, Option<&'static str>, &'static str, Life),
    CompareAndDelete(Key, &'static str),
    IncrBy(Key, i64),
    HashGet(Key, &'static str),
    HashGetAll(Key),
    HashSet(Key, Vec<(&'static str, &'static str)>),
    HashDelete(Key, Vec<&'static str>),
    HashExists(Key, &'static str),
    HashLen(Key),
    HashIncrBy(Key, &'static str, i64),
    SetAdd(Key, Vec<&'static str>),
    SetRemove(Key, Vec<&'static str>),
    SetMembers(Key),
    SetContains(Key, &'static str),
    SetLen(Key),
    SortedAdd(Key, Vec<(&'static str, f64)>),
    SortedRemove(Key, Vec<&'static str>),
    SortedRange(Key, RankRange),
    SortedRemoveByRank(Key, RankRange),
    SortedByScore(Key, ScoreRange),
    SortedCount(Key, ScoreRange),
    SortedScore(Key, &'static str),
    SortedLen(Key),
    Batch(Vec<Condition>, Vec<Step>),
}

/// A condition of a batch.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    Exists(Key),
    Absent(Key),
    Equals(Key, &'static str),
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(units) => write!(f, "wait {units}"),
            Self::Delete(keys) => write!(f, "delete {keys:?}"),
            Self::Exists(key) => write!(f, "exists {key:?}"),
            Self::Expire(key, life) => write!(f, "expire {key:?}{}", During(life)),
            Self::Left(key) => write!(f, "ttl {key:?}"),
            Self::Scan(prefix, limit) => write!(f, "scan {prefix:?} by {limit}"),
            Self::DeletePrefix(prefix) => write!(f, "delete_prefix {prefix:?}"),
            Self::Get(key) => write!(f, "get {key:?}"),
            Self::GetMany(keys) => write!(f, "get_many {keys:?}"),
            Self::Set(key, value, life) => write!(f, "set {key:?} = {value:?}{}", During(life)),
            Self::SetMany(entries, life) => write!(f, "set_many {entries:?}{}", During(life)),
            Self::SetIfAbsent(key, value, life) => {
                write!(f, "set_if_absent {key:?} = {value:?}{}", During(life))
            }
            Self::GetSet(key, value, life) => write!(f, "get_set {key:?} = {value:?}{}", During(life)),
            Self::CompareAndSet(key, expected, value, life) => {
                write!(
                    f,
                    "compare_and_set {key:?} from {expected:?} to {value:?}{}",
                    During(life)
                )
            }
            Self::CompareAndDelete(key, value) => write!(f, "compare_and_delete {key:?} = {value:?}"),
            Self::IncrBy(key, by) => write!(f, "incr_by {key:?} {by}"),
            Self::HashGet(key, field) => write!(f, "hash_get {key:?} {field:?}"),
            Self::HashGetAll(key) => write!(f, "hash_get_all {key:?}"),
            Self::HashSet(key, fields) => write!(f, "hash_set {key:?} {fields:?}"),
            Self::HashDelete(key, fields) => write!(f, "hash_delete {key:?} {fields:?}"),
            Self::HashExists(key, field) => write!(f, "hash_exists {key:?} {field:?}"),
            Self::HashLen(key) => write!(f, "hash_len {key:?}"),
            Self::HashIncrBy(key, field, by) => write!(f, "hash_incr_by {key:?} {field:?} {by}"),
            Self::SetAdd(key, members) => write!(f, "set_add {key:?} {members:?}"),
            Self::SetRemove(key, members) => write!(f, "set_remove {key:?} {members:?}"),
            Self::SetMembers(key) => write!(f, "set_members {key:?}"),
            Self::SetContains(key, member) => write!(f, "set_contains {key:?} {member:?}"),
            Self::SetLen(key) => write!(f, "set_len {key:?}"),
            Self::SortedAdd(key, members) => write!(f, "sorted_add {key:?} {members:?}"),
            Self::SortedRemove(key, members) => write!(f, "sorted_remove {key:?} {members:?}"),
            Self::SortedRange(key, range) => write!(f, "sorted_range {key:?} {}", Ranks(range)),
            Self::SortedRemoveByRank(key, range) => {
                write!(f, "sorted_remove_by_rank {key:?} {}", Ranks(range))
            }
            Self::SortedByScore(key, range) => write!(f, "sorted_range_by_score {key:?} {}", Scores(range)),
            Self::SortedCount(key, range) => write!(f, "sorted_count {key:?} {}", Scores(range)),
            Self::SortedScore(key, member) => write!(f, "sorted_score {key:?} {member:?}"),
            Self::SortedLen(key) => write!(f, "sorted_len {key:?}"),
            Self::Batch(conditions, steps) => write!(f, "atomically if {conditions:?} then {steps:?}"),
        }
    }
}

struct During<'a>(&'a Life);

impl fmt::Display for During<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |units| write!(f, " for {units}"))
    }
}

struct Ranks<'a>(&'a RankRange);

impl fmt::Display for Ranks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(range) = self;
        write!(f, "{}..={} {:?}", range.start, range.stop, range.order)
    }
}

struct Scores<'a>(&'a ScoreRange);

impl fmt::Display for Scores<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(range) = self;
        write!(f, "{:?} to {:?} {:?}", range.min, range.max, range.order)?;
        range
            .limit
            .map_or(Ok(()), |limit| write!(f, ", {limit} from {}", range.offset))
    }
}

fn key() -> impl Strategy<Value = Key> + Clone {
    select(&KEYS[..])
}

fn word() -> impl Strategy<Value = &'static str> + Clone {
    select(&WORDS[..])
}

fn words() -> impl Strategy<Value = Vec<&'static str>> {
    vec(word(), 1..4)
}

fn life() -> impl Strategy<Value = Life> + Clone {
    option::of(1..12_u8)
}

fn difference() -> impl Strategy<Value = i64> {
    Union::new([(-3..=3_i64).boxed(), select(vec![i64::MAX, i64::MIN]).boxed()])
}

fn one_of(steps: Vec<BoxedStrategy<Step>>) -> BoxedStrategy<Step> {
    Union::new(steps).boxed()
}

/// What can be done whatever the family under test is, so that keys of different types meet.
fn common() -> BoxedStrategy<Step> {
    one_of(vec![
        (1..8_u8).prop_map(Step::Wait).boxed(),
        vec(key(), 1..4).prop_map(Step::Delete).boxed(),
        key().prop_map(Step::Exists).boxed(),
        (key(), life()).prop_map(|(k, l)| Step::Expire(k, l)).boxed(),
        key().prop_map(Step::Left).boxed(),
        (key(), word(), life())
            .prop_map(|(k, v, l)| Step::Set(k, v, l))
            .boxed(),
        key().prop_map(Step::Get).boxed(),
    ])
}

/// The family's own steps three times as often as the common ones.
fn mostly(own: BoxedStrategy<Step>) -> impl Strategy<Value = Step> {
    Union::new_weighted(vec![(1, common()), (3, own)])
}

pub(super) fn strings() -> impl Strategy<Value = Step> {
    let prefix = || select(vec!["", "a", "ab", "a*", "b", "zz"]);
    mostly(one_of(vec![
        (prefix(), 1..4_usize).prop_map(|(p, n)| Step::Scan(p, n)).boxed(),
        select(vec!["a", "ab", "a*", "b", "b%", "_", "?"])
            .prop_map(Step::DeletePrefix)
            .boxed(),
        vec(key(), 0..4).prop_map(Step::GetMany).boxed(),
        (vec((key(), word()), 1..4), life())
            .prop_map(|(e, l)| Step::SetMany(e, l))
            .boxed(),
        (key(), word(), life())
            .prop_map(|(k, v, l)| Step::SetIfAbsent(k, v, l))
            .boxed(),
        (key(), word(), life())
            .prop_map(|(k, v, l)| Step::GetSet(k, v, l))
            .boxed(),
        (key(), option::of(word()), word(), life())
            .prop_map(|(k, e, v, l)| Step::CompareAndSet(k, e, v, l))
            .boxed(),
        (key(), word())
            .prop_map(|(k, v)| Step::CompareAndDelete(k, v))
            .boxed(),
        (key(), difference())
            .prop_map(|(k, d)| Step::IncrBy(k, d))
            .boxed(),
        (key(), words()).prop_map(|(k, m)| Step::SetAdd(k, m)).boxed(),
    ]))
}

pub(super) fn hashes() -> impl Strategy<Value = Step> {
    mostly(one_of(vec![
        (key(), word()).prop_map(|(k, w)| Step::HashGet(k, w)).boxed(),
        key().prop_map(Step::HashGetAll).boxed(),
        (key(), vec((word(), word()), 1..4))
            .prop_map(|(k, f)| Step::HashSet(k, f))
            .boxed(),
        (key(), words()).prop_map(|(k, f)| Step::HashDelete(k, f)).boxed(),
        (key(), word()).prop_map(|(k, f)| Step::HashExists(k, f)).boxed(),
        key().prop_map(Step::HashLen).boxed(),
        (key(), word(), difference())
            .prop_map(|(k, f, d)| Step::HashIncrBy(k, f, d))
            .boxed(),
    ]))
}

pub(super) fn sets() -> impl Strategy<Value = Step> {
    mostly(one_of(vec![
        (key(), words()).prop_map(|(k, m)| Step::SetAdd(k, m)).boxed(),
        (key(), words()).prop_map(|(k, m)| Step::SetRemove(k, m)).boxed(),
        key().prop_map(Step::SetMembers).boxed(),
        (key(), word()).prop_map(|(k, m)| Step::SetContains(k, m)).boxed(),
        key().prop_map(Step::SetLen).boxed(),
    ]))
}

fn ranks() -> impl Strategy<Value = RankRange> {
    (-7..7_i64, -7..7_i64, any::<bool>()).prop_map(|(start, stop, descending)| {
        let mut range = RankRange::new(start, stop);
        if descending {
            range.order = Order::Descending;
        }
        range
    })
}

fn bound() -> impl Strategy<Value = ScoreBound> {
    let score = || select(&SCORES[..]);
    Union::new([
        Just(ScoreBound::Unbounded).boxed(),
        score().prop_map(ScoreBound::Included).boxed(),
        score().prop_map(ScoreBound::Excluded).boxed(),
    ])
}

fn scores() -> impl Strategy<Value = ScoreRange> {
    let page = option::of((0..3_u64, 0..4_u64));
    (bound(), bound(), any::<bool>(), page).prop_map(|(min, max, descending, page)| {
        let mut range = ScoreRange::ALL.with_min(min).with_max(max);
        if descending {
            range = range.descending();
        }
        page.map_or(range, |(offset, limit)| range.page(offset, limit))
    })
}

pub(super) fn sorted_sets() -> impl Strategy<Value = Step> {
    let members = || vec((word(), select(&SCORES[..])), 1..4);
    mostly(one_of(vec![
        (key(), members())
            .prop_map(|(k, m)| Step::SortedAdd(k, m))
            .boxed(),
        (key(), members())
            .prop_map(|(k, m)| Step::SortedAdd(k, m))
            .boxed(),
        (key(), words())
            .prop_map(|(k, m)| Step::SortedRemove(k, m))
            .boxed(),
        (key(), ranks())
            .prop_map(|(k, r)| Step::SortedRange(k, r))
            .boxed(),
        (key(), ranks())
            .prop_map(|(k, r)| Step::SortedRemoveByRank(k, r))
            .boxed(),
        (key(), scores())
            .prop_map(|(k, r)| Step::SortedByScore(k, r))
            .boxed(),
        (key(), scores())
            .prop_map(|(k, r)| Step::SortedCount(k, r))
            .boxed(),
        (key(), word()).prop_map(|(k, m)| Step::SortedScore(k, m)).boxed(),
        key().prop_map(Step::SortedLen).boxed(),
    ]))
}

/// The steps that a batch can hold.
fn part() -> BoxedStrategy<Step> {
    let members = vec((word(), select(&SCORES[..])), 1..3);
    one_of(vec![
        (key(), word(), life())
            .prop_map(|(k, v, l)| Step::Set(k, v, l))
            .boxed(),
        key().prop_map(Step::Get).boxed(),
        (key(), difference())
            .prop_map(|(k, d)| Step::IncrBy(k, d))
            .boxed(),
        key().prop_map(|key| Step::Delete(vec![key])).boxed(),
        (key(), life()).prop_map(|(k, l)| Step::Expire(k, l)).boxed(),
        (key(), vec((word(), word()), 1..3))
            .prop_map(|(k, f)| Step::HashSet(k, f))
            .boxed(),
        (key(), words()).prop_map(|(k, m)| Step::SetAdd(k, m)).boxed(),
        (key(), words()).prop_map(|(k, m)| Step::SetRemove(k, m)).boxed(),
        (key(), members).prop_map(|(k, m)| Step::SortedAdd(k, m)).boxed(),
        (key(), ranks())
            .prop_map(|(k, r)| Step::SortedRemoveByRank(k, r))
            .boxed(),
    ])
}

pub(super) fn batches() -> impl Strategy<Value = Step> {
    let condition = Union::new([
        key().prop_map(Condition::Exists).boxed(),
        key().prop_map(Condition::Absent).boxed(),
        (key(), word()).prop_map(|(k, v)| Condition::Equals(k, v)).boxed(),
    ]);
    let batch = (vec(condition, 0..3), vec(part(), 1..5)).prop_map(|(c, s)| Step::Batch(c, s));
    // What is in the cache is looked at by the steps of the families.
    let look = one_of(vec![
        key().prop_map(Step::HashGetAll).boxed(),
        key().prop_map(Step::SetMembers).boxed(),
        key()
            .prop_map(|key| Step::SortedRange(key, RankRange::ALL))
            .boxed(),
    ]);
    mostly(one_of(vec![batch.boxed(), look]))
}
