//! What several scenarios of batches do first: each step is a premise, which another scenario proves.

use bytes::Bytes;
use infra_core::Ttl;
use infra_core::cache::{Batch, BatchOutcome, Check, Operation, OperationResult, Scripts};

use crate::conformance::{Failure, Harness, Premise};

/// A key that may be in one batch with the others of this run: a cluster needs a common hash tag.
pub(crate) fn together(harness: &Harness<dyn Scripts>, suffix: &str) -> String {
    format!("{{{}}}{suffix}", harness.name("tag"))
}

/// A step that stores a text that does not expire.
pub(crate) fn set(key: &str, value: &str) -> Operation {
    Operation::Set(key.to_owned(), value.to_owned().into(), Ttl::Never)
}

/// A step that reads a key.
pub(crate) fn get(key: &str) -> Operation {
    Operation::Get(key.to_owned())
}

/// A batch of these steps.
pub(crate) fn batch(operations: impl IntoIterator<Item = Operation>) -> Batch {
    operations.into_iter().fold(Batch::new(), Batch::then)
}

/// What one step alone gives.
pub(crate) async fn alone(scripts: &dyn Scripts, operation: Operation) -> Result<OperationResult, Failure> {
    let outcome = scripts.atomically(batch([operation])).await;
    match outcome.premise("one step alone is done")? {
        BatchOutcome::Applied(mut results) => results.pop().premise("one step gives one result"),
        other => Err(Failure::premise(format!(
            "premise: a batch without conditions is applied: {other:?}"
        ))),
    }
}

/// Stores a text that does not expire.
pub(crate) async fn put(scripts: &dyn Scripts, key: &str, value: &str) -> Result<(), Failure> {
    alone(scripts, set(key, value)).await.map(drop)
}

/// The value of a key.
pub(crate) async fn value(scripts: &dyn Scripts, key: &str) -> Result<Option<Bytes>, Failure> {
    match alone(scripts, get(key)).await? {
        OperationResult::Value(value) => Ok(value),
        other => Err(Failure::premise(format!(
            "premise: reading gives a value: {other:?}"
        ))),
    }
}

/// The value of a key as text.
pub(crate) async fn text(scripts: &dyn Scripts, key: &str) -> Result<Option<String>, Failure> {
    let value = value(scripts, key).await?;
    Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

/// Whether anything is under a key.
pub(crate) async fn is_there(scripts: &dyn Scripts, key: &str) -> Result<bool, Failure> {
    let asked = Batch::new().when(Check::Exists(key.to_owned()));
    let outcome = scripts
        .atomically(asked)
        .await
        .premise("a condition alone is looked at")?;
    Ok(matches!(outcome, BatchOutcome::Applied(_)))
}
