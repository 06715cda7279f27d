//! Caches whose batches are broken on purpose.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use infra_core::cache::{
    Batch, BatchOutcome, Check, KeyValue, Operation, OperationResult, Script, ScriptValue, Scripts,
};
use infra_core::capability::Capabilities;
use infra_core::{Backend, Error, ErrorKind, Result, Ttl, async_trait};
use infra_memory::MemoryCache;
use infra_testkit::conformance::{self, Breakage, prove};

use crate::cache_server;

pub(crate) const FAMILY: &str = "scripts";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::scripts::SCENARIOS,
        &[
            broken("SCRIPT-001", Defect::CountsEveryDeletion, "counts a deletion of nothing"),
            broken("SCRIPT-002", Defect::ComparesBeginnings, "compares as many bytes as it was given"),
            broken("SCRIPT-003", Defect::LooksFromTheEnd, "looks at conditions from the last to the first"),
            broken("SCRIPT-004", Defect::EmptyDoesNotExist, "takes an empty value for absent in a condition"),
            broken("SCRIPT-005", Defect::LeavesWhatWasDone, "leaves what was done before the step that failed"),
            broken("SCRIPT-006", Defect::ReadsFirst, "reads before it does anything"),
            broken("SCRIPT-007", Defect::SetsOneByOne, "sets several keys one by one"),
            broken("SCRIPT-008", Defect::LooksThenActs, "looks at the conditions and does the steps in two calls"),
            broken("SCRIPT-009", Defect::ForgetsTheTime, "sets values without their time to live"),
            broken("SCRIPT-010", Defect::CountsKnownMembers, "counts the members that a set had already"),
            broken("SCRIPT-011", Defect::OtherTypesAreAbsent, "reads nothing where there is another type"),
            broken("SCRIPT-012", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            broken("SCRIPT-013", Defect::RefusesNothing, "refuses a batch of nothing"),
            broken("SCRIPT-014", Defect::WantsOneTag, "declares atomicity across keys and wants a common hash tag"),
            broken("SCRIPT-015", Defect::WorksAfterShutdown, "goes on after its shutdown"),
            broken("SCRIPT-016", Defect::AwayIsInternal, "calls an unreachable server an internal error"),
            broken("SCRIPT-017", Defect::ConflictShowsTheValue, "shows the value to which a step could not add"),
            broken("SCRIPT-018", Defect::KeepsText, "puts values as text into a generated script"),
            broken("SCRIPT-019", Defect::ScriptsGiveNothing, "gives nothing for a raw script that it cannot run"),
            broken("SCRIPT-020", Defect::AddsOneByOne, "adds to several numbers one by one"),
            broken("SCRIPT-021", Defect::ExpiredKeysExist, "says of an expired key that it exists"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    CountsEveryDeletion,
    ComparesBeginnings,
    LooksFromTheEnd,
    EmptyDoesNotExist,
    LeavesWhatWasDone,
    ReadsFirst,
    SetsOneByOne,
    LooksThenActs,
    ForgetsTheTime,
    CountsKnownMembers,
    OtherTypesAreAbsent,
    AsksBeforeChecking,
    RefusesNothing,
    WantsOneTag,
    WorksAfterShutdown,
    AwayIsInternal,
    ConflictShowsTheValue,
    KeepsText,
    ScriptsGiveNothing,
    AddsOneByOne,
    ExpiredKeysExist,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Scripts> {
    Breakage::new(breaks, words, move |_| async move {
        let server = MemoryCache::new();
        Ok(cache_server::fixture(server.clone()).map(move |inner| {
            let client = Client {
                spare: server.connect(),
                inner: MemoryCache::clone(&inner),
                defect,
                expiring: Mutex::default(),
            };
            Arc::new(client) as Arc<dyn Scripts>
        }))
    })
}

/// A client that does one thing wrong.
#[derive(Debug)]
struct Client {
    inner: MemoryCache,
    /// A connection that stays open when this client is shut down.
    spare: MemoryCache,
    defect: Defect,
    /// The keys that were set with a time to live.
    expiring: Mutex<BTreeSet<String>>,
}

fn batch(operations: impl IntoIterator<Item = Operation>) -> Batch {
    operations.into_iter().fold(Batch::new(), Batch::then)
}

/// What stands between the first braces, which decides the node of a cluster.
fn tag(key: &str) -> &str {
    key.split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map_or(key, |(tag, _)| tag)
}

impl Client {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// What the defect makes of a condition before it is looked at.
    async fn condition(&self, check: Check) -> Check {
        let current = self.inner.get(check.key()).await.ok().flatten();
        match (self.defect, &check, current) {
            (Defect::ComparesBeginnings, Check::Equals(key, expected), Some(current))
                if !expected.is_empty() && current.starts_with(expected) =>
            {
                return Check::Equals(key.clone(), current);
            }
            (Defect::EmptyDoesNotExist, Check::Exists(key), Some(current)) if current.is_empty() => {
                return Check::Absent(key.clone());
            }
            (Defect::ExpiredKeysExist, Check::Absent(key), _) => {
                let expiring = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
                if expiring.contains(key) {
                    return Check::Exists(key.clone());
                }
            }
            _ => {}
        }
        check
    }

    /// What the defect makes of a step before it is done.
    async fn step(&self, operation: Operation) -> Operation {
        match (self.defect, operation) {
            (Defect::ForgetsTheTime, Operation::Set(key, value, Ttl::After(ttl))) if !ttl.is_zero() => {
                Operation::Set(key, value, Ttl::Never)
            }
            (Defect::KeepsText, Operation::Set(key, value, ttl)) => {
                let text = String::from_utf8_lossy(&value).into_owned();
                Operation::Set(key, text.into(), ttl)
            }
            (Defect::ExpiredKeysExist, Operation::Set(key, value, ttl)) => {
                let mut expiring = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
                if ttl == Ttl::Never {
                    expiring.remove(&key);
                } else {
                    expiring.insert(key.clone());
                }
                Operation::Set(key, value, ttl)
            }
            (_, operation) => operation,
        }
    }

    /// What the defect makes of the results.
    fn results(&self, operations: &[Operation], mut results: Vec<OperationResult>) -> Vec<OperationResult> {
        for (operation, result) in operations.iter().zip(&mut results) {
            match (self.defect, operation) {
                (Defect::CountsEveryDeletion, Operation::Delete(_)) => *result = OperationResult::Number(1),
                (Defect::CountsKnownMembers, Operation::SetAdd(_, members)) if members.len() > 1 => {
                    *result = OperationResult::Number(i64::try_from(members.len()).unwrap_or(i64::MAX));
                }
                _ => {}
            }
        }
        results
    }

    /// What the defect makes of a batch that failed.
    async fn failed(&self, batch: Batch, error: Error) -> Result<BatchOutcome> {
        match (self.defect, error.kind()) {
            (Defect::AwayIsInternal, ErrorKind::Unavailable) => {
                return Err(Error::new(ErrorKind::Internal, "connection refused"));
            }
            (Defect::WorksAfterShutdown, ErrorKind::Closed) => return self.spare.atomically(batch).await,
            (Defect::LeavesWhatWasDone, ErrorKind::Conflict) => {
                for operation in batch.operations {
                    if self.inner.atomically(Batch::new().then(operation)).await.is_err() {
                        break;
                    }
                }
            }
            (Defect::OtherTypesAreAbsent, ErrorKind::Conflict) => {
                if let [Operation::Get(_)] = batch.operations.as_slice() {
                    return Ok(BatchOutcome::Applied(vec![OperationResult::Value(None)]));
                }
            }
            (Defect::ConflictShowsTheValue, ErrorKind::Conflict) => {
                for operation in &batch.operations {
                    if let Operation::Set(_, value, _) = operation {
                        let shown = format!("{value:?} is no number");
                        return Err(Error::new(ErrorKind::Conflict, shown));
                    }
                }
            }
            _ => {}
        }
        Err(error)
    }

    /// A batch without conditions, its steps one by one, with others in between.
    async fn one_by_one(&self, operations: Vec<Operation>) -> Result<BatchOutcome> {
        let mut results = Vec::new();
        for operation in operations {
            if let BatchOutcome::Applied(mut given) = self.inner.atomically(batch([operation])).await? {
                results.append(&mut given);
            }
            tokio::task::yield_now().await;
        }
        Ok(BatchOutcome::Applied(results))
    }

    /// The batch done in a way of the defect's own, or `None` where it is done as it should be.
    async fn in_its_own_way(&self, batch: &Batch) -> Result<Option<BatchOutcome>> {
        let operations = &batch.operations;
        let several = batch.checks.is_empty() && operations.len() > 1;
        let all = |wanted: fn(&Operation) -> bool| several && operations.iter().all(wanted);
        match self.defect {
            Defect::AsksBeforeChecking => self.inner.health().await.map(|()| None),
            Defect::RefusesNothing if batch.checks.is_empty() && operations.is_empty() => {
                Err(Error::invalid_argument("the batch is empty"))
            }
            Defect::WantsOneTag if batch.keys().map(tag).collect::<BTreeSet<_>>().len() > 1 => {
                Err(Error::invalid_argument("the keys are not on one node"))
            }
            Defect::SetsOneByOne
                if all(|step| matches!(step, Operation::Set(_, _, Ttl::Never)))
                    && operations.iter().all(|step| self.accepts(step)) =>
            {
                self.one_by_one(operations.clone()).await.map(Some)
            }
            Defect::AddsOneByOne if all(|step| matches!(step, Operation::IncrBy(..))) => {
                self.one_by_one(operations.clone()).await.map(Some)
            }
            Defect::LooksThenActs if !batch.checks.is_empty() && operations.len() > 1 => {
                let looked = batch.checks.iter().cloned().fold(Batch::new(), Batch::when);
                if let BatchOutcome::Refused { check } = self.inner.atomically(looked).await? {
                    return Ok(Some(BatchOutcome::Refused { check }));
                }
                tokio::task::yield_now().await;
                let acted = operations.iter().cloned().fold(Batch::new(), Batch::then);
                self.inner.atomically(acted).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Whether a key and a value have the size that is declared.
    fn accepts(&self, operation: &Operation) -> bool {
        let limits = self.capabilities().limits();
        let value = match operation {
            Operation::Set(_, value, _) => value.len(),
            _ => 0,
        };
        limits.check_key("key", operation.key()).is_ok() && limits.check_value("value", value).is_ok()
    }

    /// The last condition that does not hold.
    async fn last_unmet(&self, checks: &[Check]) -> Result<usize> {
        for (number, check) in checks.iter().enumerate().rev() {
            let alone = Batch::new().when(check.clone());
            if let BatchOutcome::Refused { .. } = self.inner.atomically(alone).await? {
                return Ok(number);
            }
        }
        Ok(0)
    }
}

#[async_trait]
impl Backend for Client {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Scripts for Client {
    async fn atomically(&self, asked: Batch) -> Result<BatchOutcome> {
        if let Some(outcome) = self.in_its_own_way(&asked).await? {
            return Ok(outcome);
        }
        let mut batch = Batch::new();
        for check in asked.checks {
            batch = batch.when(self.condition(check).await);
        }
        let mut read_first = Vec::new();
        for operation in asked.operations {
            if let (Defect::ReadsFirst, Operation::Get(key)) = (self.defect, &operation) {
                let before = self.inner.get(key).await.unwrap_or_default();
                read_first.push((batch.operations.len(), before));
            }
            batch = batch.then(self.step(operation).await);
        }
        match self.inner.atomically(batch.clone()).await {
            Ok(BatchOutcome::Applied(results)) => {
                let mut results = self.results(&batch.operations, results);
                for (number, before) in read_first {
                    results[number] = OperationResult::Value(before);
                }
                Ok(BatchOutcome::Applied(results))
            }
            Ok(BatchOutcome::Refused { .. }) if self.is(Defect::LooksFromTheEnd) => {
                let check = self.last_unmet(&batch.checks).await?;
                Ok(BatchOutcome::Refused { check })
            }
            Ok(other) => Ok(other),
            Err(error) => self.failed(batch, error).await,
        }
    }

    async fn run_script(&self, script: &Script, keys: &[&str], arguments: &[Bytes]) -> Result<ScriptValue> {
        match self.inner.run_script(script, keys, arguments).await {
            Err(error) if self.is(Defect::ScriptsGiveNothing) && error.kind() == ErrorKind::Unsupported => {
                Ok(ScriptValue::Null)
            }
            answer => answer,
        }
    }
}
