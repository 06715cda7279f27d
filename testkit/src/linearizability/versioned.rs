//! What a key of the configuration centre does: a value with a version, written under a condition.

use super::checker::Model;

/// What is called on one key of a [`ConfigCenter`](infra_core::coordination::ConfigCenter).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionedOperation {
    /// Reads the key.
    Read,
    /// Writes this value.
    Set(u64),
    /// Writes this value if the version is still the first; 0 for absent.
    CompareAndSet(u64, u64),
    /// Deletes the key.
    Delete,
    /// Deletes the key if the version is still this one.
    CompareAndDelete(u64),
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VersionedAnswer {
    /// What is there, with its version.
    Entry(Option<(u64, u64)>),
    /// It was written, and has this version. The version of a deleted key tells nothing.
    Written(u64),
    /// The version is another one.
    Conflict,
}

/// One key with a version that only grows.
///
/// Write each value once only: a write of what is there already need not be a new version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VersionedModel;

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct VersionedState {
    value: Option<u64>,
    /// The version; without one where the answer that told it was lost, and then it is greater than `newest`.
    version: Option<u64>,
    /// The greatest version that is known.
    newest: u64,
}

impl VersionedState {
    /// The state after a write was answered with this version; nothing where it is not greater.
    fn written(self, value: u64, version: Option<u64>) -> Option<Self> {
        let newest = match version {
            Some(version) if version > self.newest => version,
            Some(_) => return None,
            None => self.newest,
        };
        Some(Self {
            value: Some(value),
            version,
            newest,
        })
    }

    fn deleted(self) -> Self {
        Self {
            value: None,
            version: None,
            newest: self.newest,
        }
    }

    /// The same, where a condition on `expected` held.
    fn at(self, expected: u64) -> Option<Self> {
        match (self.value, self.version) {
            (None, _) => (expected == 0).then_some(self),
            (Some(_), Some(version)) => (expected == version).then_some(self),
            (Some(_), None) => (expected > self.newest).then_some(Self {
                version: Some(expected),
                newest: expected,
                ..self
            }),
        }
    }

    /// Whether a condition on `expected` can have failed.
    fn can_differ(self, expected: u64) -> bool {
        match (self.value, self.version) {
            (None, _) => expected != 0,
            (Some(_), Some(version)) => expected != version,
            (Some(_), None) => true,
        }
    }
}

impl Model for VersionedModel {
    type State = VersionedState;
    type Operation = VersionedOperation;
    type Answer = VersionedAnswer;

    fn initial(&self) -> VersionedState {
        VersionedState::default()
    }

    fn step(
        &self,
        state: &VersionedState,
        operation: &VersionedOperation,
        answer: Option<&VersionedAnswer>,
    ) -> Option<VersionedState> {
        use VersionedAnswer::{Conflict, Entry, Written};
        use VersionedOperation::{CompareAndDelete, CompareAndSet, Delete, Read, Set};
        let state = *state;
        match (*operation, answer.copied()) {
            (Read, Some(Entry(None))) => state.value.is_none().then_some(state),
            (Read, Some(Entry(Some((value, version))))) if state.value == Some(value) => state.at(version),
            (Set(value), Some(Written(version))) => state.written(value, Some(version)),
            (Set(value), None) => state.written(value, None),
            (CompareAndSet(expected, value), Some(Written(version))) => {
                state.at(expected)?.written(value, Some(version))
            }
            (CompareAndSet(expected, value), None) => state.at(expected)?.written(value, None),
            (Delete, Some(Written(_))) => Some(state.deleted()),
            (Delete, None) => state.value.map(|_| state.deleted()),
            (CompareAndDelete(expected), Some(Written(_)) | None) => {
                state.at(expected).map(VersionedState::deleted)
            }
            (CompareAndSet(expected, _) | CompareAndDelete(expected), Some(Conflict)) => {
                state.can_differ(expected).then_some(state)
            }
            _ => None,
        }
    }
}
