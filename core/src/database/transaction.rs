//! Transactions: everything between begin and commit happens, or nothing.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::{BatchInsert, Executed, Row, ShardKey, Statement};
use crate::error::{Error, ErrorKind, Result};

/// How far concurrent transactions see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// What the engine does by default.
    #[default]
    EngineDefault,
    /// Every statement sees what was committed before it began.
    ReadCommitted,
    /// Every statement sees what was committed before the transaction began.
    RepeatableRead,
    /// As if transactions ran one after the other.
    Serializable,
}

/// How a transaction is run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransactionOptions {
    /// Isolation. Default: the engine's.
    pub isolation: Isolation,
    /// Refuses writes. Default: off.
    pub read_only: bool,
    /// Which database of several: the one that holds this key's shard of this table. Not needed with one database.
    pub shard: Option<(String, ShardKey)>,
    /// How often [`DatabaseExt::transaction`](super::DatabaseExt::transaction) runs its closure again after a deadlock or
    /// serialisation failure. Default: 0. Set it only when the closure may be repeated.
    pub repeats: u32,
    /// The pause before the first repetition; it doubles each time. Default: 10 ms,
    /// at most 1 s.
    pub repeat_backoff: Duration,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        Self {
            isolation: Isolation::EngineDefault,
            read_only: false,
            shard: None,
            repeats: 0,
            repeat_backoff: Duration::from_millis(10),
        }
    }
}

impl TransactionOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the isolation.
    #[must_use]
    pub fn with_isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Refuses writes.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Runs on the database that holds this key's shard of `table`.
    #[must_use]
    pub fn on_shard(mut self, table: impl Into<String>, key: impl Into<ShardKey>) -> Self {
        self.shard = Some((table.into(), key.into()));
        self
    }

    /// Declares that the closure may be repeated, so many times, after a deadlock or serialisation failure.
    #[must_use]
    pub fn repeatable(mut self, repeats: u32) -> Self {
        self.repeats = repeats;
        self
    }
}

/// A transaction that is open. Dropping it without a commit rolls it back.
///
/// # Contract
/// - It runs on one database; a statement routed to another is [`InvalidArgument`](ErrorKind::InvalidArgument), and
///   nothing is sent.
/// - After a failed statement only [`rollback`](Transaction::rollback) or
///   [`rollback_to`](Transaction::rollback_to) is certain to work (some engines refuse all else).
#[async_trait]
pub trait Transaction: fmt::Debug + Send {
    /// Runs a statement that returns no rows.
    async fn execute(&mut self, statement: Statement) -> Result<Executed>;

    /// Runs a statement and collects its rows.
    async fn fetch_all(&mut self, statement: Statement) -> Result<Vec<Row>>;

    /// Runs a statement and returns its first row, or `None`.
    async fn fetch_optional(&mut self, statement: Statement) -> Result<Option<Row>>;

    /// Inserts many rows with as few statements as the engine allows.
    ///
    /// # Errors
    /// As [`Database::insert_many`](super::Database::insert_many); and
    /// [`InvalidArgument`](ErrorKind::InvalidArgument), before anything is sent, when a row belongs on another database.
    async fn insert_many(&mut self, batch: BatchInsert) -> Result<Executed>;

    /// Marks a point to return to. Names nest: the same name again hides the earlier one.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) unless the name is letters, digits and underscores.
    async fn savepoint(&mut self, name: &str) -> Result<()>;

    /// Forgets a savepoint and keeps what was done since.
    async fn release_savepoint(&mut self, name: &str) -> Result<()>;

    /// Undoes what was done since the savepoint, which stays.
    async fn rollback_to(&mut self, name: &str) -> Result<()>;

    /// Makes everything durable.
    ///
    /// # Errors
    /// [`OutcomeUnknown`](ErrorKind::OutcomeUnknown) when the connection was lost while committing: neither success nor
    /// failure may be assumed.
    ///
    /// # Cancellation
    /// The transaction is committed or rolled back, as a whole; which of both cannot be known from here. The connection goes back to the
    /// pool without a transaction on it.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Undoes everything.
    ///
    /// # Cancellation
    /// Everything is undone all the same, in the background.
    async fn rollback(self: Box<Self>) -> Result<()>;
}

crate::assert_object_safe!(Transaction);

/// Typed convenience over any [`Transaction`].
#[async_trait]
pub trait TransactionExt: Transaction {
    /// Runs a statement and decodes its rows.
    ///
    /// # Errors
    /// The statement's, or [`DataCorrupted`](ErrorKind::DataCorrupted) naming the column that does not fit.
    async fn query_as<T: DeserializeOwned>(&mut self, statement: Statement) -> Result<Vec<T>> {
        self.fetch_all(statement)
            .await?
            .into_iter()
            .map(Row::decode)
            .collect()
    }

    /// Runs a statement that must return a row, and decodes it.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) when there is no row.
    async fn query_one<T: DeserializeOwned>(&mut self, statement: Statement) -> Result<T> {
        self.fetch_optional(statement)
            .await?
            .map_or_else(|| Err(no_row()), Row::decode)
    }
}

impl<T: Transaction + ?Sized> TransactionExt for T {}

pub(super) fn no_row() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "the statement returned no row where one was required",
    )
}
