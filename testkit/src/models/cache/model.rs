//! What a cache should do, written for clarity alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::cache::{Order, RankRange, ScoreRange};
use tokio::time::Instant;

use super::steps::{Condition, Key, Life, Step};

/// What an operation gives: a value, or the kind of its error.
pub(super) type Answer = Result<Value, ErrorKind>;

/// The values of all operations in one form.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Done,
    Flag(bool),
    Number(i64),
    Text(Option<String>),
    Texts(Vec<Option<String>>),
    /// The remaining time to live, if there is such a key and if it has one.
    Left(Option<Option<Duration>>),
    Keys(BTreeSet<String>),
    /// Stored, or what is there instead.
    Swapped(Result<(), Option<String>>),
    Fields(BTreeMap<String, String>),
    Members(BTreeSet<String>),
    Scored(Vec<(String, f64)>),
    Score(Option<f64>),
    /// The results of a batch's steps, or the condition that did not hold.
    Batch(Result<Vec<Value>, usize>),
}

#[derive(Debug, Clone)]
enum Stored {
    Text(String),
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
    Sorted(BTreeMap<String, f64>),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    keys: BTreeMap<Key, (Stored, Option<Instant>)>,
}

/// When an operation was done, at the latest, and how long a unit is.
#[derive(Clone, Copy)]
struct Moment {
    unit: Duration,
    ended: Instant,
}

impl Moment {
    fn deadline(self, life: Life) -> Option<Instant> {
        life.map(|units| self.ended + self.unit * u32::from(units))
    }
}

const CONFLICT: ErrorKind = ErrorKind::Conflict;

/// The part of a key that is of one type: nothing when there is no key, a conflict when it is of another type.
macro_rules! part {
    ($model:expr, $key:expr, $variant:ident) => {
        match $model.keys.get($key) {
            None => None,
            Some((Stored::$variant(part), _)) => Some(part),
            Some(_) => return Err(CONFLICT),
        }
    };
}

/// Changes the part of a key, which is made when it is missing and goes when it becomes empty; gives the number of changes.
macro_rules! change {
    ($model:expr, $key:expr, $variant:ident, |$part:ident| $change:expr) => {{
        part!($model, $key, $variant);
        let entry = $model
            .keys
            .entry($key)
            .or_insert_with(|| (Stored::$variant(Default::default()), None));
        let Stored::$variant($part) = &mut entry.0 else {
            return Err(CONFLICT);
        };
        let changed: usize = $change;
        if $part.is_empty() {
            $model.keys.remove($key);
        }
        Ok(Value::Number(changed as i64))
    }};
}

fn sum(before: Option<&str>, difference: i64) -> Result<i64, ErrorKind> {
    let number = match before {
        None => 0,
        Some(text) => text.parse::<i64>().map_err(|_| CONFLICT)?,
    };
    number.checked_add(difference).ok_or(CONFLICT)
}

impl Model {
    pub(super) fn forget_expired(&mut self, now: Instant) {
        self.keys
            .retain(|_, (_, deadline)| deadline.is_none_or(|deadline| now < deadline));
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.keys.values().filter_map(|(_, deadline)| *deadline).min()
    }

    /// Does the step, which had been done by then.
    pub(super) fn answer(&mut self, step: &Step, unit: Duration, ended: Instant) -> Answer {
        self.apply(step, Moment { unit, ended })
    }

    fn apply(&mut self, step: &Step, moment: Moment) -> Answer {
        match step {
            Step::HashGet(..)
            | Step::HashGetAll(_)
            | Step::HashSet(..)
            | Step::HashDelete(..)
            | Step::HashExists(..)
            | Step::HashLen(_)
            | Step::HashIncrBy(..) => self.hash(step),
            Step::SetAdd(..)
            | Step::SetRemove(..)
            | Step::SetMembers(_)
            | Step::SetContains(..)
            | Step::SetLen(_) => self.set(step),
            Step::SortedAdd(..)
            | Step::SortedRemove(..)
            | Step::SortedRange(..)
            | Step::SortedRemoveByRank(..)
            | Step::SortedByScore(..)
            | Step::SortedCount(..)
            | Step::SortedScore(..)
            | Step::SortedLen(_) => self.sorted(step),
            Step::Batch(conditions, steps) => self.batch(conditions, steps, moment),
            _ => self.string_or_key(step, moment),
        }
    }

    fn string_or_key(&mut self, step: &Step, moment: Moment) -> Answer {
        Ok(match step {
            Step::Delete(keys) => {
                let there = keys.iter().filter(|key| self.keys.remove(*key).is_some());
                Value::Number(there.count() as i64)
            }
            Step::Exists(key) => Value::Flag(self.keys.contains_key(key)),
            Step::Expire(key, life) => match self.keys.get_mut(key) {
                None => Value::Flag(false),
                Some((_, deadline)) => {
                    *deadline = moment.deadline(*life);
                    Value::Flag(true)
                }
            },
            Step::Left(key) => {
                let left = |deadline: &Option<Instant>| deadline.map(|end| end - moment.ended);
                Value::Left(self.keys.get(key).map(|(_, deadline)| left(deadline)))
            }
            Step::Scan(prefix, _) => {
                let found = self.keys.keys().filter(|key| key.starts_with(prefix));
                Value::Keys(found.map(|key| (*key).to_owned()).collect())
            }
            Step::DeletePrefix(prefix) => {
                let before = self.keys.len();
                self.keys.retain(|key, _| !key.starts_with(prefix));
                Value::Number((before - self.keys.len()) as i64)
            }
            _ => return self.string(step, moment),
        })
    }

    fn string(&mut self, step: &Step, moment: Moment) -> Answer {
        Ok(match step {
            Step::Get(key) => Value::Text(self.text(key)?),
            Step::GetMany(keys) => {
                let texts: Result<_, _> = keys.iter().map(|key| self.text(key)).collect();
                Value::Texts(texts?)
            }
            Step::Set(key, value, life) => {
                self.put(key, value, moment.deadline(*life));
                Value::Done
            }
            Step::SetMany(entries, life) => {
                for (key, value) in entries {
                    self.put(key, value, moment.deadline(*life));
                }
                Value::Done
            }
            Step::SetIfAbsent(key, value, life) => {
                let absent = !self.keys.contains_key(key);
                if absent {
                    self.put(key, value, moment.deadline(*life));
                }
                Value::Flag(absent)
            }
            Step::GetSet(key, value, life) => {
                let before = self.text(key)?;
                self.put(key, value, moment.deadline(*life));
                Value::Text(before)
            }
            Step::CompareAndSet(key, expected, value, life) => {
                let current = self.text(key)?;
                if current.as_deref() == *expected {
                    self.put(key, value, moment.deadline(*life));
                    Value::Swapped(Ok(()))
                } else {
                    Value::Swapped(Err(current))
                }
            }
            Step::CompareAndDelete(key, expected) => {
                let same = self.text(key)?.as_deref() == Some(expected);
                if same {
                    self.keys.remove(key);
                }
                Value::Flag(same)
            }
            Step::IncrBy(key, difference) => {
                let sum = sum(self.text(key)?.as_deref(), *difference)?;
                let deadline = self.keys.get(key).and_then(|(_, deadline)| *deadline);
                self.put(key, &sum.to_string(), deadline);
                Value::Number(sum)
            }
            _ => return Err(ErrorKind::Internal),
        })
    }

    fn text(&self, key: Key) -> Result<Option<String>, ErrorKind> {
        Ok(part!(self, key, Text).cloned())
    }

    fn put(&mut self, key: Key, value: &str, deadline: Option<Instant>) {
        self.keys.insert(key, (Stored::Text(value.to_owned()), deadline));
    }

    fn hash(&mut self, step: &Step) -> Answer {
        Ok(match step {
            Step::HashGet(key, field) => {
                Value::Text(part!(self, key, Hash).and_then(|hash| hash.get(*field).cloned()))
            }
            Step::HashGetAll(key) => Value::Fields(part!(self, key, Hash).cloned().unwrap_or_default()),
            Step::HashExists(key, field) => {
                Value::Flag(part!(self, key, Hash).is_some_and(|hash| hash.contains_key(*field)))
            }
            Step::HashLen(key) => Value::Number(part!(self, key, Hash).map_or(0, BTreeMap::len) as i64),
            Step::HashSet(key, fields) => {
                return change!(self, *key, Hash, |hash| {
                    let new = |(field, value): &(&str, &str)| {
                        hash.insert((*field).to_owned(), (*value).to_owned()).is_none()
                    };
                    fields.iter().map(new).filter(|new| *new).count()
                });
            }
            Step::HashDelete(key, fields) => {
                return change!(self, *key, Hash, |hash| {
                    fields
                        .iter()
                        .filter(|field| hash.remove(**field).is_some())
                        .count()
                });
            }
            Step::HashIncrBy(key, field, difference) => {
                let before = part!(self, key, Hash).and_then(|hash| hash.get(*field).cloned());
                let sum = sum(before.as_deref(), *difference)?;
                let entry = self
                    .keys
                    .entry(*key)
                    .or_insert_with(|| (Stored::Hash(BTreeMap::new()), None));
                if let Stored::Hash(hash) = &mut entry.0 {
                    hash.insert((*field).to_owned(), sum.to_string());
                }
                Value::Number(sum)
            }
            _ => return Err(ErrorKind::Internal),
        })
    }

    fn set(&mut self, step: &Step) -> Answer {
        Ok(match step {
            Step::SetMembers(key) => Value::Members(part!(self, key, Set).cloned().unwrap_or_default()),
            Step::SetContains(key, member) => {
                Value::Flag(part!(self, key, Set).is_some_and(|set| set.contains(*member)))
            }
            Step::SetLen(key) => Value::Number(part!(self, key, Set).map_or(0, BTreeSet::len) as i64),
            Step::SetAdd(key, members) => {
                return change!(self, *key, Set, |set| {
                    members
                        .iter()
                        .filter(|member| set.insert((**member).to_owned()))
                        .count()
                });
            }
            Step::SetRemove(key, members) => {
                return change!(self, *key, Set, |set| {
                    members.iter().filter(|member| set.remove(**member)).count()
                });
            }
            _ => return Err(ErrorKind::Internal),
        })
    }

    fn sorted(&mut self, step: &Step) -> Answer {
        Ok(match step {
            Step::SortedRange(key, range) => Value::Scored(self.ranked(key, range)?),
            Step::SortedByScore(key, range) => Value::Scored(page(self.by_score(key, range)?, range)),
            Step::SortedCount(key, range) => Value::Number(self.by_score(key, range)?.len() as i64),
            Step::SortedScore(key, member) => {
                Value::Score(part!(self, key, Sorted).and_then(|sorted| sorted.get(*member).copied()))
            }
            Step::SortedLen(key) => Value::Number(part!(self, key, Sorted).map_or(0, BTreeMap::len) as i64),
            Step::SortedAdd(key, members) => {
                return change!(self, *key, Sorted, |sorted| {
                    let new =
                        |(member, score): &(&str, f64)| sorted.insert((*member).to_owned(), *score).is_none();
                    members.iter().map(new).filter(|new| *new).count()
                });
            }
            Step::SortedRemove(key, members) => {
                return change!(self, *key, Sorted, |sorted| {
                    members
                        .iter()
                        .filter(|member| sorted.remove(**member).is_some())
                        .count()
                });
            }
            Step::SortedRemoveByRank(key, range) => {
                let removed = self.ranked(key, range)?;
                return change!(self, *key, Sorted, |sorted| {
                    removed
                        .iter()
                        .filter(|(member, _)| sorted.remove(member).is_some())
                        .count()
                });
            }
            _ => return Err(ErrorKind::Internal),
        })
    }

    /// The members in an order: by score, equal scores by member.
    fn ordered(&self, key: Key, order: Order) -> Result<Vec<(String, f64)>, ErrorKind> {
        let sorted = part!(self, key, Sorted).cloned().unwrap_or_default();
        let mut members: Vec<_> = sorted.into_iter().collect();
        members.sort_by(|(a, x), (b, y)| x.total_cmp(y).then_with(|| a.as_bytes().cmp(b.as_bytes())));
        if order == Order::Descending {
            members.reverse();
        }
        Ok(members)
    }

    fn ranked(&self, key: Key, range: &RankRange) -> Result<Vec<(String, f64)>, ErrorKind> {
        let members = self.ordered(key, range.order)?;
        let count = members.len() as i64;
        let place = |rank: i64| if rank < 0 { count + rank } else { rank };
        let inside = |number: usize| (place(range.start)..=place(range.stop)).contains(&(number as i64));
        let chosen = members
            .into_iter()
            .enumerate()
            .filter(|(number, _)| inside(*number));
        Ok(chosen.map(|(_, member)| member).collect())
    }

    fn by_score(&self, key: Key, range: &ScoreRange) -> Result<Vec<(String, f64)>, ErrorKind> {
        let mut members = self.ordered(key, range.order)?;
        members.retain(|(_, score)| range.contains(*score));
        Ok(members)
    }

    fn batch(&mut self, conditions: &[Condition], steps: &[Step], moment: Moment) -> Answer {
        for (number, condition) in conditions.iter().enumerate() {
            let holds = match condition {
                Condition::Exists(key) => self.keys.contains_key(key),
                Condition::Absent(key) => !self.keys.contains_key(key),
                Condition::Equals(key, value) => self.text(key)?.as_deref() == Some(value),
            };
            if !holds {
                return Ok(Value::Batch(Err(number)));
            }
        }
        let mut changed = self.clone();
        let done: Result<Vec<_>, _> = steps.iter().map(|step| changed.apply(step, moment)).collect();
        let done = done?;
        *self = changed;
        Ok(Value::Batch(Ok(done)))
    }
}

fn page(members: Vec<(String, f64)>, range: &ScoreRange) -> Vec<(String, f64)> {
    let (offset, limit) = (range.offset as usize, range.limit.unwrap_or(u64::MAX) as usize);
    members.into_iter().skip(offset).take(limit).collect()
}
