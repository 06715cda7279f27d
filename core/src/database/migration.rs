//! Versioned migrations: what the schema was told, when, and proof that the history was not rewritten.

use std::borrow::Cow;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// One step of the schema's history.
///
/// The text may hold several statements, separated by semicolons. Tables that are sharded are written by their logical
/// name, and the whole step then runs for every shard; `{shard}` is replaced by the shard's suffix (`_07`) where a name
/// must be distinct, as index names must. A step is on sharded tables or on others, not on both.
///
/// ```
/// use infra_core::database::Migration;
///
/// let first = Migration::new(1, "create messages",
///         "create table messages (id bigint primary key, session_id text not null);
///          create index messages_by_session{shard} on messages (session_id)")
///     .with_down("drop table messages");
/// assert_eq!(first.checksum().len(), 64);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The version; steps are applied in ascending order.
    pub version: u64,
    /// What the step does, in a few words.
    pub name: Cow<'static, str>,
    /// The statements that apply it.
    pub up: Cow<'static, str>,
    /// The statements that undo it, if it can be undone.
    pub down: Option<Cow<'static, str>>,
}

impl Migration {
    /// A step that cannot be undone.
    #[must_use]
    pub fn new(version: u64, name: impl Into<Cow<'static, str>>, up: impl Into<Cow<'static, str>>) -> Self {
        Self {
            version,
            name: name.into(),
            up: up.into(),
            down: None,
        }
    }

    /// The same step with statements that undo it.
    #[must_use]
    pub fn with_down(mut self, down: impl Into<Cow<'static, str>>) -> Self {
        self.down = Some(down.into());
        self
    }

    /// The SHA-256 of the text that applies it, in hexadecimal digits: detects a step that was changed after the fact.
    #[must_use]
    pub fn checksum(&self) -> String {
        Sha256::digest(self.up.as_bytes())
            .iter()
            .fold(String::with_capacity(64), |mut digits, byte| {
                // Writing to a String cannot fail.
                let _ = write!(digits, "{byte:02x}");
                digits
            })
    }
}

/// The whole history, in ascending order of version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrations {
    steps: Vec<Migration>,
}

impl Migrations {
    /// Orders the steps.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when two steps share a version or one has version 0.
    pub fn new(steps: impl IntoIterator<Item = Migration>) -> Result<Self> {
        let mut steps: Vec<_> = steps.into_iter().collect();
        steps.sort_by_key(|step| step.version);
        if steps.first().is_some_and(|step| step.version == 0) {
            return Err(Error::invalid_argument(
                "a migration has version 0; versions begin at 1",
            ));
        }
        if let Some(pair) = steps.windows(2).find(|pair| pair[0].version == pair[1].version) {
            return Err(Error::invalid_argument(format!(
                "two migrations have version {}: {:?} and {:?}; give each its own",
                pair[0].version, pair[0].name, pair[1].name
            )));
        }
        Ok(Self { steps })
    }

    /// The steps, in ascending order of version.
    #[must_use]
    pub fn steps(&self) -> &[Migration] {
        &self.steps
    }
}

/// What [`Database::migrate`](super::Database::migrate) did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrationReport {
    /// The versions applied by this call, in order.
    pub applied: Vec<u64>,
    /// How many had been applied before.
    pub already_applied: usize,
}

impl MigrationReport {
    /// Puts the report together.
    #[must_use]
    pub fn new(applied: Vec<u64>, already_applied: usize) -> Self {
        Self {
            applied,
            already_applied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_steps_and_refuses_a_doubtful_history() {
        let history = Migrations::new([
            Migration::new(2, "b", "select 2"),
            Migration::new(1, "a", "select 1"),
        ]);
        let versions: Vec<_> = history
            .expect("valid")
            .steps()
            .iter()
            .map(|step| step.version)
            .collect();
        assert_eq!(versions, [1, 2]);
        assert!(Migrations::new([Migration::new(0, "zero", "")]).is_err());
        let twice = Migrations::new([Migration::new(1, "a", ""), Migration::new(1, "b", "")]);
        assert!(twice.expect_err("twice").message().contains("version 1"));
    }
}
