//! Batches: one script that is the same for all of them, and gets the conditions and steps as arguments.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::cache::{
    Batch, BatchOutcome, Check, Operation, OperationResult, Script as RawScript, ScriptValue, Scripts,
};
use infra_core::{Error, ErrorKind, Result, Ttl};
use redis::{RedisError, Value};

use crate::cache::{RedisCache, run, unknown_variant};
use crate::client::{Repeat, unexpected};
use crate::reply;
use crate::script::{Invocation, Script};
use crate::slots::check_one_slot;
use crate::sorted_sets::ascending_ranks;
use crate::strings::milliseconds;

static BATCH: Script = Script::new(include_str!("batch.lua"));

#[async_trait]
impl Scripts for RedisCache {
    /// One script, one round trip. Whether the steps can be done is found out before the first; where only doing them tells (a sum
    /// near 64 bits, a set that the batch itself may have emptied) what they change is kept, and put back when one fails.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for keys of several slots of a cluster.
    /// [`PermissionDenied`](ErrorKind::PermissionDenied) when the user may do some of the commands only: the error says if steps
    /// before the refused one were done.
    async fn atomically(&self, batch: Batch) -> Result<BatchOutcome> {
        run("atomically", async {
            self.client.check_open()?;
            self.check_batch(&batch)?;
            if batch.checks.is_empty() && batch.operations.is_empty() {
                return Ok(BatchOutcome::Applied(Vec::new()));
            }
            let keys = self.keys_of(&batch);
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            if self.client.config().is_cluster() {
                check_one_slot(keys.iter().copied())?;
            }
            let _changing: Vec<_> = keys.iter().map(|key| self.changing(key)).collect();
            let mut invocation = Invocation::of(&BATCH, &keys);
            write_batch(&mut invocation, &batch)?;
            let reply = self.client.invoke(&invocation, repeat_of(&batch)).await;
            outcome(reply.map_err(|error| failed(error, &batch))?, &batch)
        })
        .await
    }

    /// A map comes as a list of its keys and values in turn, a double as text, a boolean as 1 or 0.
    ///
    /// # Errors
    /// What the script raised, without its words, which may quote arguments. What it did before it failed stays done.
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) when it does not compile, and for keys of several slots of a cluster.
    async fn run_script(
        &self,
        script: &RawScript,
        keys: &[&str],
        arguments: &[Bytes],
    ) -> Result<ScriptValue> {
        run("run_script", self.run_raw(script, keys, arguments)).await
    }
}

impl RedisCache {
    /// Everything that can be refused without looking at what is stored.
    fn check_batch(&self, batch: &Batch) -> Result<()> {
        for key in batch.keys() {
            self.limits().check_key("key", key)?;
        }
        for operation in &batch.operations {
            match operation {
                Operation::Set(_, value, ttl) => self.check_value(value, *ttl)?,
                Operation::Expire(_, ttl) => ttl.check(self.limits())?,
                Operation::HashSet(_, fields) => {
                    self.check_fields(fields.iter().map(|(field, value)| (field.as_str(), value)))?;
                }
                Operation::SetAdd(_, members) => self.check_members(members.iter())?,
                Operation::SortedAdd(_, members) => self.check_scored(members)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The keys as the server knows them, those of the conditions first.
    fn keys_of(&self, batch: &Batch) -> Vec<String> {
        let keys = self.client.keys();
        let checked = batch.checks.iter().map(|check| keys.key(check.key()));
        let worked = batch.operations.iter().map(|operation| match operation {
            Operation::SortedAdd(key, _) | Operation::SortedRemoveByRank(key, _) => keys.sorted(key),
            other => keys.key(other.key()),
        });
        checked.chain(worked).collect()
    }
}

/// Whether doing a batch twice is the same as doing it once: it only reads, or each of its steps may be repeated alone, and none
/// finds what another left.
fn repeat_of(batch: &Batch) -> Repeat {
    let only_reads = batch
        .operations
        .iter()
        .all(|operation| matches!(operation, Operation::Get(_)));
    let may_be_repeated = |operation: &Operation| {
        !matches!(
            operation,
            Operation::IncrBy(..) | Operation::SortedRemoveByRank(..)
        )
    };
    let mut seen = HashSet::new();
    let are_apart = batch.checks.is_empty()
        && batch
            .operations
            .iter()
            .all(|operation| may_be_repeated(operation) && seen.insert(operation.key()));
    if only_reads || are_apart {
        Repeat::Harmless
    } else {
        Repeat::Never
    }
}

/// The arguments, as the head of the script says.
fn write_batch(to: &mut Invocation<'_>, batch: &Batch) -> Result<()> {
    to.arg(batch.checks.len());
    for check in &batch.checks {
        match check {
            Check::Exists(_) => to.arg("exists"),
            Check::Absent(_) => to.arg("absent"),
            Check::Equals(_, expected) => to.arg("equals").arg(&expected[..]),
            _ => return Err(unknown_variant()),
        };
    }
    for operation in &batch.operations {
        write_step(to, operation)?;
    }
    Ok(())
}

fn write_step(to: &mut Invocation<'_>, operation: &Operation) -> Result<()> {
    match operation {
        Operation::Set(_, value, ttl) => {
            to.arg("set").arg(2).arg(&value[..]);
            write_ttl(to, *ttl);
        }
        Operation::Get(_) => {
            to.arg("get").arg(0);
        }
        Operation::IncrBy(_, difference) => {
            to.arg("incr").arg(1).arg(*difference);
        }
        Operation::Delete(_) => {
            to.arg("delete").arg(0);
        }
        Operation::Expire(_, ttl) => {
            to.arg("expire").arg(1);
            write_ttl(to, *ttl);
        }
        Operation::HashSet(_, fields) => {
            to.arg("hash_set").arg(fields.len() * 2);
            for (field, value) in fields {
                to.arg(field).arg(&value[..]);
            }
        }
        Operation::SetAdd(_, members) => write_members(to, "set_add", members),
        Operation::SetRemove(_, members) => write_members(to, "set_remove", members),
        Operation::SortedAdd(_, members) => {
            to.arg("sorted_add").arg(members.len() * 2);
            for scored in members {
                to.arg(scored.score).arg(&scored.member[..]);
            }
        }
        Operation::SortedRemoveByRank(_, range) => {
            let (start, stop) = ascending_ranks(*range);
            to.arg("sorted_remove").arg(2).arg(start).arg(stop);
        }
        _ => return Err(unknown_variant()),
    }
    Ok(())
}

/// In milliseconds; nothing for what never expires.
fn write_ttl(to: &mut Invocation<'_>, ttl: Ttl) {
    match ttl.duration() {
        None => to.arg(""),
        Some(ttl) => to.arg(milliseconds(ttl)),
    };
}

fn write_members(to: &mut Invocation<'_>, name: &str, members: &[Bytes]) {
    to.arg(name).arg(members.len());
    for member in members {
        to.arg(&member[..]);
    }
}

fn outcome(reply: Value, batch: &Batch) -> Result<BatchOutcome> {
    let mut replies = reply::list(reply)?.into_iter();
    let is_applied = reply::flag(replies.next().ok_or_else(unexpected)?)?;
    if !is_applied {
        let check = reply::count(replies.next().ok_or_else(unexpected)?)?;
        let check = usize::try_from(check).map_err(|_| unexpected())?;
        return Ok(BatchOutcome::Refused { check });
    }
    let results = batch.operations.iter().map(|operation| {
        let reply = replies.next().ok_or_else(unexpected)?;
        match operation {
            Operation::Set(..) => Ok(OperationResult::Done),
            Operation::Get(_) => Ok(OperationResult::Value(reply::value(reply)?)),
            Operation::IncrBy(..) => {
                let sum = reply::text(reply)?;
                Ok(OperationResult::Number(sum.parse().map_err(|_| unexpected())?))
            }
            _ => Ok(OperationResult::Number(reply::number(reply)?)),
        }
    });
    Ok(BatchOutcome::Applied(results.collect::<Result<_>>()?))
}

/// Adds to an error of the script which part of the batch it is about.
fn failed(error: Error, batch: &Batch) -> Error {
    let Some(source) = error.downcast_source::<RedisError>() else {
        return error;
    };
    let detail = source.detail().unwrap_or_default();
    let part = |name| number_after(detail, name)?.checked_sub(1);
    let place = if let Some(number) = part("(condition ") {
        let check = batch.checks.get(number);
        check.map(|check| format!("condition {number}, on key {:?}", check.key()))
    } else if let Some(number) = part("(step ") {
        let operation = batch.operations.get(number);
        operation.map(|operation| format!("step {number}, on key {:?}", operation.key()))
    } else {
        None
    };
    let Some(place) = place else { return error };
    if source.code() != Some("PARTIAL") {
        return error.context(place);
    }
    let kind = if detail.contains("NOPERM") || detail.contains("can't run this command") {
        ErrorKind::PermissionDenied
    } else {
        ErrorKind::Internal
    };
    Error::new(
        kind,
        format!(
            "{place}: Redis refused the command although the key fits it, and the steps before it are done; the user needs all \
             commands of a batch"
        ),
    )
}

fn number_after(text: &str, before: &str) -> Option<usize> {
    let (_, behind) = text.rsplit_once(before)?;
    behind.split(')').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_repeated_when_that_changes_nothing() {
        let get = |key: &str| Operation::Get(key.to_owned());
        let set = |key: &str| Operation::Set(key.to_owned(), "1".into(), Ttl::Never);
        let batch = |operations: Vec<Operation>| operations.into_iter().fold(Batch::new(), Batch::then);
        for (harmless, batch) in [
            (
                true,
                batch(vec![get("a"), get("a")]).when(Check::Exists("a".into())),
            ),
            (true, batch(vec![set("a"), get("b"), set("c")])),
            (false, batch(vec![get("a"), set("a")])),
            (false, batch(vec![set("a")]).when(Check::Absent("a".into()))),
            (false, batch(vec![Operation::IncrBy("a".into(), 1)])),
        ] {
            assert_eq!(repeat_of(&batch) == Repeat::Harmless, harmless, "{batch:?}");
        }
    }
}
