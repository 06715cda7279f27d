//! Atomic batches: every stripe is taken first, then the steps run in place with a log that can undo them.

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::cache::{
    Batch, BatchOutcome, Check, Operation, OperationResult, Script, ScriptValue, Scripts,
};
use infra_core::{Error, Result};

use super::sorted_set::SortedSet;
use super::store::{BatchGuard, Entry, Slot, deadline};
use super::value::{Hash, Set, Shared, Value};
use super::{MemoryCache, hashes, run, sets, sorted_sets, strings};

#[async_trait]
impl Scripts for MemoryCache {
    async fn atomically(&self, batch: Batch) -> Result<BatchOutcome> {
        run("atomically", || {
            self.check_open()?;
            self.check_batch(&batch)?;
            let keys: Vec<String> = batch.keys().map(|key| self.prefixed(key).into_owned()).collect();
            let guard = self.reached()?.begin_batch(keys.iter().map(String::as_str));
            let (checked, worked) = keys.split_at(batch.checks.len());
            for (number, (check, key)) in batch.checks.iter().zip(checked).enumerate() {
                if !holds(check, &guard.slot(key))? {
                    return Ok(BatchOutcome::Refused { check: number });
                }
            }
            let mut undo = UndoLog::new(&guard);
            let mut results = Vec::with_capacity(worked.len());
            for (operation, key) in batch.operations.iter().zip(worked) {
                match apply(operation, key, &mut undo) {
                    Ok(result) => results.push(result),
                    Err(error) => {
                        undo.roll_back();
                        return Err(error.without_effect());
                    }
                }
            }
            Ok(BatchOutcome::Applied(results))
        })
    }

    async fn run_script(
        &self,
        _script: &Script,
        _keys: &[&str],
        _arguments: &[Bytes],
    ) -> Result<ScriptValue> {
        run("run_script", || {
            self.check_open()?;
            Err(Error::unsupported("raw scripts (use an atomic batch)"))
        })
    }
}

impl MemoryCache {
    /// Everything that can be refused without looking at what is stored.
    fn check_batch(&self, batch: &Batch) -> Result<()> {
        for key in batch.keys() {
            self.limits().check_key("key", key)?;
        }
        for operation in &batch.operations {
            match operation {
                Operation::Set(_, value, ttl) => {
                    self.limits().check_value("value", value.len())?;
                    ttl.check(self.limits())?;
                }
                Operation::Expire(_, ttl) => ttl.check(self.limits())?,
                Operation::HashSet(_, fields) => self.check_fields(fields)?,
                Operation::SetAdd(_, members) => self.check_members(members.iter())?,
                Operation::SortedAdd(_, members) => self.check_scored(members)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn holds(check: &Check, slot: &Slot<'_>) -> Result<bool> {
    match check {
        Check::Exists(_) => Ok(slot.entry().is_some()),
        Check::Absent(_) => Ok(slot.entry().is_none()),
        Check::Equals(_, expected) => Ok(slot.string()?.is_some_and(|(value, _)| value == *expected)),
        _ => Err(strings::unknown_variant()),
    }
}

fn apply<'b>(operation: &Operation, key: &'b str, undo: &mut UndoLog<'b>) -> Result<OperationResult> {
    let slot = undo.remember(key);
    let number = match operation {
        Operation::Set(_, value, ttl) => {
            slot.put_string(value.clone(), deadline(*ttl))?;
            return Ok(OperationResult::Done);
        }
        Operation::Get(_) => {
            let value = slot.string()?.map(|(value, _)| value);
            return Ok(OperationResult::Value(value));
        }
        Operation::IncrBy(_, difference) => strings::increment(&slot, key, *difference)?,
        Operation::Delete(_) => i64::from(slot.remove()),
        Operation::Expire(_, ttl) => i64::from(slot.expire(deadline(*ttl))),
        Operation::HashSet(_, fields) => count(hashes::set(&slot, fields, |field, before| {
            undo.field(field, before)
        })?),
        Operation::SetAdd(_, members) => {
            count(sets::add(&slot, members, |member| undo.member(member, false))?)
        }
        Operation::SetRemove(_, members) => {
            count(sets::remove(&slot, members, |member| undo.member(member, true))?)
        }
        Operation::SortedAdd(_, members) => count(sorted_sets::add(&slot, members, |member, before| {
            undo.score(member, before)
        })?),
        Operation::SortedRemoveByRank(_, range) => {
            count(sorted_sets::remove_by_rank(&slot, *range, |removed| {
                undo.score(&removed.member, Some(removed.score))
            })?)
        }
        _ => return Err(strings::unknown_variant()),
    };
    Ok(OperationResult::Number(number))
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How one change inside the structure of a step is taken back.
enum Inverse {
    Field(String, Option<Bytes>),
    Member(Bytes, bool),
    Score(Bytes, Option<f64>),
}

/// What a step found under its key, and what it changed inside.
struct Step<'b> {
    key: &'b str,
    before: Option<Entry>,
    inverses: Vec<Inverse>,
}

/// Takes back the steps of a batch that failed half-way.
///
/// Readers do not see the steps before they are taken back: the batch is announced all the while.
struct UndoLog<'b> {
    guard: &'b BatchGuard<'b>,
    steps: Vec<Step<'b>>,
}

impl<'b> UndoLog<'b> {
    fn new(guard: &'b BatchGuard<'b>) -> Self {
        Self {
            guard,
            steps: Vec::new(),
        }
    }

    /// Begins a step: remembers what is under its key, and gives the slot.
    fn remember(&mut self, key: &'b str) -> Slot<'b> {
        let slot = self.guard.slot(key);
        self.steps.push(Step {
            key,
            before: slot.entry(),
            inverses: Vec::new(),
        });
        slot
    }

    fn field(&mut self, field: &str, before: Option<Bytes>) {
        self.inverse(Inverse::Field(field.to_owned(), before));
    }

    fn member(&mut self, member: &Bytes, before: bool) {
        self.inverse(Inverse::Member(member.clone(), before));
    }

    fn score(&mut self, member: &Bytes, before: Option<f64>) {
        self.inverse(Inverse::Score(member.clone(), before));
    }

    fn inverse(&mut self, inverse: Inverse) {
        if let Some(step) = self.steps.last_mut() {
            step.inverses.push(inverse);
        }
    }

    /// Takes every step back, the last one first.
    fn roll_back(self) {
        for step in self.steps.into_iter().rev() {
            let inverses = step.inverses.into_iter().rev();
            match step.before.as_ref().map(|entry| &entry.value) {
                Some(Value::Hash(hash)) => undo_fields(hash, inverses),
                Some(Value::Set(set)) => undo_members(set, inverses),
                Some(Value::Sorted(set)) => undo_scores(set, inverses),
                // What the step itself made is dropped whole; a string is replaced whole; a filter is no step's.
                Some(Value::String(_) | Value::Bloom(_)) | None => {}
            }
            self.guard.slot(step.key).restore(step.before);
        }
    }
}

fn undo_fields(hash: &Shared<Hash>, inverses: impl Iterator<Item = Inverse>) {
    let mut hash = hash.lock();
    for inverse in inverses {
        match inverse {
            Inverse::Field(field, Some(before)) => drop(hash.insert(&field, before)),
            Inverse::Field(field, None) => drop(hash.remove(&field)),
            Inverse::Member(..) | Inverse::Score(..) => {}
        }
    }
}

fn undo_members(set: &Shared<Set>, inverses: impl Iterator<Item = Inverse>) {
    let mut set = set.lock();
    for inverse in inverses {
        match inverse {
            Inverse::Member(member, true) => drop(set.insert(member)),
            Inverse::Member(member, false) => drop(set.remove(&member)),
            Inverse::Field(..) | Inverse::Score(..) => {}
        }
    }
}

fn undo_scores(set: &Shared<SortedSet>, inverses: impl Iterator<Item = Inverse>) {
    let mut set = set.lock();
    for inverse in inverses {
        match inverse {
            Inverse::Score(member, Some(before)) => drop(set.insert(member, before)),
            Inverse::Score(member, None) => drop(set.remove(&member)),
            Inverse::Field(..) | Inverse::Member(..) => {}
        }
    }
}
