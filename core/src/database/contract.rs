//! The trait that a database backend implements.

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::{BatchInsert, MigrationReport, Migrations, Row, Statement, Transaction, TransactionOptions};
use crate::backend::Backend;
use crate::error::Result;

/// What a statement that returns no rows did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Executed {
    /// How many rows were inserted, changed or deleted.
    pub rows_affected: u64,
}

impl Executed {
    /// So many rows were affected.
    #[must_use]
    pub const fn new(rows_affected: u64) -> Self {
        Self { rows_affected }
    }
}

/// The state of the connection pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Open connections.
    pub open: u32,
    /// Open connections that are not in use.
    pub idle: u32,
    /// The most there can be.
    pub max: u32,
}

impl PoolStatus {
    /// Puts the numbers together.
    #[must_use]
    pub const fn new(open: u32, idle: u32, max: u32) -> Self {
        Self { open, idle, max }
    }
}

/// A read over every shard of a table.
///
/// ```
/// use infra_core::database::{Scatter, Statement};
///
/// let newest = Scatter::new(Statement::new("select id, content from messages order by id desc limit 20"))
///     .order_by_descending("id")
///     .limit(20);
/// assert_eq!(newest.limit, Some(20));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Scatter {
    /// The statement; it runs once per shard, with the table's name replaced. Write its own `order by` and `limit` to
    /// push them down.
    pub statement: Statement,
    /// Merges the shards' rows by these columns `(name, descending)`; none leaves the order open.
    pub order: Vec<(String, bool)>,
    /// Keeps only so many rows after the merge.
    pub limit: Option<usize>,
}

impl Scatter {
    /// A read without order or limit.
    #[must_use]
    pub fn new(statement: Statement) -> Self {
        Self {
            statement,
            order: Vec::new(),
            limit: None,
        }
    }

    /// Merges by a column, smallest first.
    #[must_use]
    pub fn order_by(mut self, column: impl Into<String>) -> Self {
        self.order.push((column.into(), false));
        self
    }

    /// Merges by a column, greatest first.
    #[must_use]
    pub fn order_by_descending(mut self, column: impl Into<String>) -> Self {
        self.order.push((column.into(), true));
        self
    }

    /// Keeps only so many rows.
    #[must_use]
    pub fn limit(mut self, rows: usize) -> Self {
        self.limit = Some(rows);
        self
    }
}

/// Rows as they arrive, with constant memory. The first error ends the stream.
pub type RowStream = BoxStream<'static, Result<Row>>;

/// A relational database: one, or several over which tables are sharded.
///
/// # Contract
/// - Values never become part of a statement's text.
/// - A statement on a sharded table without its shard key is
///   [`InvalidArgument`](crate::ErrorKind::InvalidArgument); [`scatter`](Database::scatter) reads all shards on purpose.
/// - A unique violation is [`AlreadyExists`](crate::ErrorKind::AlreadyExists); a deadlock or serialisation failure is
///   [`Conflict`](crate::ErrorKind::Conflict) and retryable; an exhausted pool is [`Timeout`](crate::ErrorKind::Timeout);
///   a connection lost during commit is [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown).
/// - Slow statements and failures are logged with the text of the statement, never with values.
///
/// # Cancellation
/// Dropping the future of a statement cancels it; outside a transaction it may or may not have taken effect.
#[crate::intercept(component = "database")]
#[async_trait]
pub trait Database: Backend {
    /// Runs a statement that returns no rows.
    async fn execute(&self, statement: Statement) -> Result<Executed>;

    /// Runs a statement and collects its rows.
    async fn fetch_all(&self, statement: Statement) -> Result<Vec<Row>>;

    /// Runs a statement and returns its first row, or `None`.
    async fn fetch_optional(&self, statement: Statement) -> Result<Option<Row>>;

    /// Runs a statement and streams its rows. The stream holds a connection until it ends or is dropped.
    async fn fetch(&self, statement: Statement) -> Result<RowStream>;

    /// Inserts many rows with as few statements as the engine allows, grouped by shard.
    ///
    /// All rows of one database are inserted in one transaction. Over several databases some may have been inserted when
    /// others fail: then repeat with [`BatchInsert::skip_existing`].
    ///
    /// # Errors
    /// Those of [`BatchInsert::check`]; [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when the table is sharded and its
    /// sharding column is not among the columns; [`AlreadyExists`](crate::ErrorKind::AlreadyExists) for a row that exists.
    async fn insert_many(&self, batch: BatchInsert) -> Result<Executed>;

    /// Reads every shard of the one sharded table of the statement, merged and limited.
    ///
    /// Where the configuration does not shard that table there is one place to read, so that the same code runs before
    /// and after a table is sharded. The shards are read one by one, not at one moment.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when the statement writes, names several sharded tables, or
    /// is to be merged by a column that the result lacks.
    #[call(idempotent)]
    async fn scatter(&self, scatter: Scatter) -> Result<Vec<Row>>;

    /// Starts a transaction on one database. Prefer [`DatabaseExt::transaction`](super::DatabaseExt::transaction).
    async fn begin(&self, options: TransactionOptions) -> Result<Box<dyn Transaction>>;

    /// Applies the migrations that were not applied yet, in order, under an advisory lock.
    ///
    /// A migration that names a sharded table runs once for every shard. Several starters may call this at once: one
    /// works, the others wait.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) when an applied migration was changed since or is missing here; the
    /// driver's error, naming the migration, when one fails: those before it stay applied.
    #[call(idempotent, waits)]
    async fn migrate(&self, migrations: Migrations) -> Result<MigrationReport>;

    /// The state of the connection pool, without I/O.
    fn pool_status(&self) -> PoolStatus;
}

crate::assert_object_safe!(Database);
