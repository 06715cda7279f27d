//! Configuration centres that are broken on purpose.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use infra_core::coordination::{
    ConfigCenter, ConfigCenterExt, ConfigEntry, ConfigWrite, Version, WatchScope,
};
use infra_core::watch::Watch;
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_memory::MemoryCoordinator;
use infra_testkit::conformance::{self, Breakage, prove};

use crate::coordinator;
use crate::support::{backend_of_inner, locked};

pub(crate) const FAMILY: &str = "config_centers";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::config_centers::SCENARIOS,
        &[
            broken("CONFIG-001", Defect::AbsentIsAnError, "says not found where nothing is"),
            broken("CONFIG-002", Defect::KeepsText, "keeps values as text"),
            broken("CONFIG-003", Defect::AnswersTheVersionBefore, "gives the version that was replaced"),
            broken("CONFIG-004", Defect::RefusesConditionalDeletes, "takes every conditional deletion for stale"),
            broken("CONFIG-005", Defect::MakesWhatShouldBeThere, "makes a key that was expected to be there"),
            broken("CONFIG-006", Defect::ConflictWithoutDetails, "says conflict and nothing more"),
            broken("CONFIG-007", Defect::DeletingNothingFails, "says not found when there is nothing to delete"),
            broken("CONFIG-008", Defect::DeletesAnyVersion, "ignores the version of a deletion"),
            broken("CONFIG-009", Defect::TakesVersionsFromBeforeDeletion, "takes the version of a key that was deleted"),
            broken("CONFIG-010", Defect::ReadsThenWrites, "compares and writes in two steps"),
            broken("CONFIG-011", Defect::TrimsPrefixes, "trims the slash at the end of a prefix"),
            broken("CONFIG-012", Defect::EmptyPrefixIsNothing, "lists nothing for the empty prefix"),
            broken("CONFIG-013", Defect::IgnoresCaseInOrder, "orders keys without regard to case"),
            broken("CONFIG-014", Defect::TrimsKeys, "trims blanks at the end of keys"),
            broken("CONFIG-015", Defect::ShowsItsOwnKeys, "shows keys with the prefix under which it keeps them"),
            broken("CONFIG-016", Defect::WritesUpToTheConflict, "leaves what was written before a conflict"),
            broken("CONFIG-017", Defect::WritesTheLastTwice, "writes the last key of a transaction once more"),
            broken("CONFIG-018", Defect::TearsApart, "writes the keys of a transaction one by one"),
            broken("CONFIG-019", Defect::TakesTenWrites, "takes ten writes at once at most"),
            broken("CONFIG-020", Defect::LastOfTwoCounts, "lets the last of two writes of one key count"),
            broken("CONFIG-021", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            broken("CONFIG-022", Defect::OffByOne, "refuses a key of the length that it declares"),
            broken("CONFIG-023", Defect::ConflictShowsTheValue, "shows the current value in a conflict"),
            broken("CONFIG-024", Defect::ReadsAfterShutdown, "goes on reading after shutdown"),
            broken("CONFIG-025", Defect::AwayIsInternal, "calls an unreachable server an internal error"),
            broken("CONFIG-026", Defect::TakesItsKeysAlong, "deletes at shutdown what it wrote"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    AbsentIsAnError,
    KeepsText,
    AnswersTheVersionBefore,
    RefusesConditionalDeletes,
    MakesWhatShouldBeThere,
    ConflictWithoutDetails,
    DeletingNothingFails,
    DeletesAnyVersion,
    TakesVersionsFromBeforeDeletion,
    ReadsThenWrites,
    TrimsPrefixes,
    EmptyPrefixIsNothing,
    IgnoresCaseInOrder,
    TrimsKeys,
    ShowsItsOwnKeys,
    WritesUpToTheConflict,
    WritesTheLastTwice,
    TearsApart,
    TakesTenWrites,
    LastOfTwoCounts,
    AsksBeforeChecking,
    OffByOne,
    ConflictShowsTheValue,
    ReadsAfterShutdown,
    AwayIsInternal,
    TakesItsKeysAlong,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn ConfigCenter> {
    Breakage::new(breaks, words, move |_setup| async move {
        let server = coordinator::fixture(MemoryCoordinator::new());
        Ok(server.map(move |inner| {
            let center = Center {
                spare: inner.connect(),
                inner: MemoryCoordinator::clone(&inner),
                defect,
                written: Mutex::default(),
                deleted: Mutex::default(),
            };
            Arc::new(center) as Arc<dyn ConfigCenter>
        }))
    })
}

/// A client that does one thing wrong.
#[derive(Debug)]
struct Center {
    inner: MemoryCoordinator,
    /// A connection that stays open when this client is shut down.
    spare: MemoryCoordinator,
    defect: Defect,
    written: Mutex<BTreeSet<String>>,
    /// The versions at which keys were deleted.
    deleted: Mutex<HashMap<String, Version>>,
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "there is nothing")
}

/// The same write with another key, value or condition.
fn again(key: &str, value: Option<Bytes>, expected: Option<Version>) -> ConfigWrite {
    match (value, expected) {
        (Some(value), Some(expected)) => ConfigWrite::compare_and_set(key, value, expected),
        (Some(value), None) => ConfigWrite::set(key, value),
        (None, Some(expected)) => ConfigWrite::compare_and_delete(key, expected),
        (None, None) => ConfigWrite::delete(key),
    }
}

fn unconditional(write: &ConfigWrite) -> ConfigWrite {
    again(write.key(), write.value().cloned(), None)
}

impl Center {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    async fn version(&self, key: &str) -> Version {
        match self.inner.entry(key).await {
            Ok(Some(entry)) => entry.version,
            _ => Version::ABSENT,
        }
    }

    /// What the defect makes of one write before it is sent.
    async fn twisted(&self, write: &ConfigWrite) -> Result<ConfigWrite> {
        let (key, value, expected) = (write.key(), write.value().cloned(), write.expected());
        let current = self.version(key).await;
        match self.defect {
            Defect::KeepsText => {
                let text = value.map(|value| Bytes::from(String::from_utf8_lossy(&value).into_owned()));
                return Ok(again(key, text, expected));
            }
            Defect::TrimsKeys => return Ok(again(key.trim_end(), value, expected)),
            Defect::RefusesConditionalDeletes if value.is_none() && expected.is_some() => {
                return Err(Error::new(ErrorKind::Conflict, "stale"));
            }
            Defect::MakesWhatShouldBeThere if current == Version::ABSENT => return Ok(unconditional(write)),
            Defect::DeletingNothingFails if value.is_none() && current == Version::ABSENT => {
                return Err(not_found());
            }
            Defect::DeletesAnyVersion if value.is_none() => return Ok(unconditional(write)),
            Defect::TakesVersionsFromBeforeDeletion => {
                if value.is_none() {
                    locked(&self.deleted).insert(key.to_owned(), current);
                } else if expected.is_some() && expected == locked(&self.deleted).get(key).copied() {
                    return Ok(unconditional(write));
                }
            }
            Defect::ReadsThenWrites if expected == Some(current) => {
                tokio::task::yield_now().await;
                return Ok(unconditional(write));
            }
            Defect::OffByOne if key.len() >= self.inner.capabilities().limits().max_key_bytes => {
                return Err(Error::invalid_argument("the key is too long"));
            }
            _ => {}
        }
        Ok(write.clone())
    }

    /// What the defect makes of a conflict.
    async fn conflict(&self, writes: &[ConfigWrite], error: Error) -> Error {
        match self.defect {
            Defect::ConflictWithoutDetails => Error::new(ErrorKind::Conflict, "conflict"),
            Defect::ConflictShowsTheValue => {
                let found = self.inner.entry(writes[0].key()).await;
                let value = found.ok().flatten().map(|entry| entry.value);
                Error::new(ErrorKind::Conflict, format!("{}: {value:?}", error.message()))
            }
            Defect::WritesUpToTheConflict => {
                for write in writes.iter().take_while(|write| write.expected().is_none()) {
                    self.inner.write(vec![write.clone()]).await.ok();
                }
                error
            }
            _ => error,
        }
    }

    async fn send(&self, mut writes: Vec<ConfigWrite>) -> Result<Version> {
        let keys: BTreeSet<String> = writes.iter().map(|write| write.key().to_owned()).collect();
        match self.defect {
            Defect::TakesTenWrites if writes.len() > 10 => {
                return Err(Error::invalid_argument("more than ten writes"));
            }
            Defect::LastOfTwoCounts if keys.len() < writes.len() => {
                writes.drain(..writes.len() - 1);
            }
            Defect::TearsApart
                if keys.len() == writes.len() && writes.iter().all(|write| write.expected().is_none()) =>
            {
                let Some(last) = writes.pop() else {
                    return self.inner.write(writes).await;
                };
                for write in writes {
                    self.inner.write(vec![write]).await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                return self.inner.write(vec![last]).await;
            }
            _ => {}
        }
        let before = match writes.as_slice() {
            [write] if write.expected().is_none() && write.value().is_some() => {
                self.version(write.key()).await
            }
            _ => Version::ABSENT,
        };
        let last = writes
            .last()
            .filter(|write| writes.len() > 1 && write.value().is_none());
        let repeated = last.and(writes.first()).map(unconditional);
        let version = self.inner.write(writes).await?;
        locked(&self.written).extend(keys);
        if let Some(write) = repeated.filter(|_| self.is(Defect::WritesTheLastTwice)) {
            self.inner.write(vec![write]).await?;
        }
        let stale = self.is(Defect::AnswersTheVersionBefore) && before != Version::ABSENT;
        Ok(if stale { before } else { version })
    }
}

fn internal(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable => Error::new(ErrorKind::Internal, "connection refused"),
        _ => error,
    }
}

backend_of_inner!(Center, shutdown = close);

impl Center {
    async fn close(&self, deadline: Duration) -> Result<()> {
        if self.is(Defect::TakesItsKeysAlong) {
            let written = std::mem::take(&mut *locked(&self.written));
            for key in written {
                self.spare.delete(&key).await?;
            }
        }
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl ConfigCenter for Center {
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
        let scope = match scope {
            WatchScope::Key(key) if self.is(Defect::TrimsKeys) => WatchScope::Key(key.trim_end().to_owned()),
            WatchScope::Prefix(prefix) if self.is(Defect::TrimsPrefixes) => {
                WatchScope::Prefix(prefix.trim_end_matches('/').to_owned())
            }
            other => other.clone(),
        };
        if self.is(Defect::AsksBeforeChecking) {
            self.inner.health().await?;
        }
        let answer = self.inner.read(&scope).await;
        let (mut entries, revision) = match (answer, self.defect) {
            (Err(error), Defect::ReadsAfterShutdown) if error.kind() == ErrorKind::Closed => {
                self.spare.read(&scope).await?
            }
            (Err(error), Defect::AwayIsInternal) => return Err(internal(error)),
            (answer, _) => answer?,
        };
        match (self.defect, &scope) {
            (Defect::AbsentIsAnError, WatchScope::Key(_)) if entries.is_empty() => return Err(not_found()),
            (Defect::EmptyPrefixIsNothing, WatchScope::Prefix(prefix)) if prefix.is_empty() => {
                entries.clear()
            }
            (Defect::IgnoresCaseInOrder, _) => entries.sort_by_key(|entry| entry.key.to_lowercase()),
            (Defect::ShowsItsOwnKeys, WatchScope::Key(_)) => {
                for entry in &mut entries {
                    entry.key = format!("config/{}", entry.key);
                }
            }
            _ => {}
        }
        Ok((entries, revision))
    }

    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<Version> {
        let mut twisted = Vec::new();
        for write in &writes {
            twisted.push(self.twisted(write).await?);
        }
        match self.send(twisted).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Err(self.conflict(&writes, error).await),
            answer => answer,
        }
    }

    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>> {
        self.inner.watch(scope, revision).await
    }
}
