//! [`SqlDatabase`]: statements routed to the databases, and the common part of every backend.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::{BackendUrl, Profile, Validate as _};
use infra_core::database::{
    BatchInsert, Database, Executed, MigrationReport, Migrations, PoolStatus, Row, RowStream, Scatter,
    Statement, Transaction, TransactionOptions,
};
use infra_core::{Backend, Error, ErrorKind, Result};
use sqlx::SqlitePool;

use crate::cache::Cache;
use crate::config::SqlConfig;
use crate::dialect::Dialect;
use crate::dsn::{self, Location};
use crate::error::Placed as _;
use crate::observe::Observation;
use crate::router::Router;
use crate::sqlite::{self, Pool, TransactionKind, Want};
use crate::statement::{self, Bound, Mode, Parsed};
use crate::transaction::SqlTransaction;

/// A database on SQLite, or several over which tables are sharded.
///
/// Cloning is cheap; clones share the connections.
///
/// ```
/// use infra_core::database::{Database, DatabaseExt, Statement};
/// use infra_sql::{SqlConfig, SqlDatabase};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> infra_core::Result<()> {
/// let database = SqlDatabase::connect(SqlConfig::development("sqlite::memory:")).await?;
/// database.execute("create table account (id bigint primary key, balance bigint not null)".into()).await?;
/// let open = Statement::new("insert into account (id, balance) values (:id, :balance)");
/// database.execute(open.bind("id", 1).bind("balance", 100)).await?;
///
/// let balance: i64 = database
///     .query_one(Statement::new("select balance from account where id = :id").bind("id", 1))
///     .await?;
/// assert_eq!(balance, 100);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqlDatabase {
    pub(crate) shared: Arc<Shared>,
}

/// What a database and its transactions share.
pub(crate) struct Shared {
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) router: Router,
    pub(crate) config: SqlConfig,
    parsed: Cache<Arc<Parsed>>,
    capabilities: Capabilities,
    closed: AtomicBool,
}

impl fmt::Debug for SqlDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let databases: Vec<_> = self.shared.pools.iter().map(|pool| pool.shown()).collect();
        f.debug_struct("SqlDatabase")
            .field("databases", &databases)
            .field("pool", &self.pool_status())
            .finish_non_exhaustive()
    }
}

impl SqlDatabase {
    /// Opens every database of `config`, creating files and folders that are missing.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) with all problems of the configuration, or for a folder that cannot be
    /// created; [`Unavailable`](ErrorKind::Unavailable), [`PermissionDenied`](ErrorKind::PermissionDenied) or
    /// [`DataCorrupted`](ErrorKind::DataCorrupted) for a file that cannot be opened, written or understood.
    ///
    /// # Cancellation
    /// Dropping the future closes what was opened; files that were created stay.
    pub async fn connect(config: SqlConfig) -> Result<Self> {
        config
            .check()
            .map_err(|error| error.context("the database's configuration"))?;
        let pools = try_join_all(config.urls().map(|url| Pool::open(url, &config)))
            .await
            .during("connect")?;
        let durable = config
            .urls()
            .all(|url| matches!(dsn::parse(url), Ok(Location::File { .. })));
        let mut capabilities = Capabilities::new(Limits::DEFAULT)
            .with(Capability::Savepoints)
            .with(Capability::Returning);
        if durable {
            capabilities = capabilities.with(Capability::Durable);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                router: Router::new(config.sharding.clone(), pools.len()),
                pools: pools.into_iter().map(Arc::new).collect(),
                parsed: Cache::new(config.statement_cache),
                config,
                capabilities,
                closed: AtomicBool::new(false),
            }),
        })
    }

    /// Opens the database that a URL names, with the profile's settings: what an assembly hooks to the scheme `sqlite`.
    ///
    /// # Errors
    /// As [`SqlDatabase::connect`].
    ///
    /// # Cancellation
    /// As [`SqlDatabase::connect`].
    pub async fn connect_url(url: &BackendUrl, profile: Profile) -> Result<Self> {
        Self::connect(SqlConfig::from_url(url, profile).during("connect")?).await
    }

    /// The driver's pool of the first database, for what this crate does not offer.
    ///
    /// The driver does not wait for locks here (`pragma busy_timeout` is 0): a statement that meets another connection's
    /// lock fails at once with `SQLITE_BUSY`.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) never in practice: a database that was opened has a pool.
    pub fn pool(&self) -> Result<&SqlitePool> {
        self.pools()
            .next()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the database was opened without a pool"))
    }

    /// The driver's pools, in the order of the configuration's URLs; shard `s` is on pool `s mod n`.
    pub fn pools(&self) -> impl Iterator<Item = &SqlitePool> {
        self.shared.pools.iter().map(|pool| pool.native())
    }

    /// The versions that [`migrate`](Database::migrate) would apply now: a dry run.
    ///
    /// # Errors
    /// As [`migrate`](Database::migrate), when the history does not fit.
    pub async fn pending(&self, migrations: &Migrations) -> Result<Vec<u64>> {
        crate::migrate::pending(&self.shared, migrations)
            .await
            .during("pending")
    }

    /// Undoes the migration that was applied last, on every shard, and returns its version; `None` when there is none.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) when the migration has no statements that undo it; otherwise as
    /// [`migrate`](Database::migrate).
    ///
    /// # Cancellation
    /// Shards that were undone stay so; a repetition goes on with the others.
    pub async fn rollback_last(&self, migrations: &Migrations) -> Result<Option<u64>> {
        crate::migrate::rollback_last(&self.shared, migrations)
            .await
            .during("rollback_last")
    }

    pub(crate) async fn read(
        &self,
        statement: Statement,
        want: Want,
        operation: &'static str,
    ) -> Result<sqlite::Outcome> {
        let routed = self.shared.routed(&statement).during(operation)?;
        let parsed = Arc::clone(&routed.parsed);
        let pool = Arc::clone(&routed.pool);
        let want = if want == Want::First && !parsed.only_reads() {
            Want::All
        } else {
            want
        };
        let observation = Observation::begin(parsed.summary(), self.shared.config.slow_query);
        let result = self.shared.run(routed, want).await.during(operation);
        observation.end(&result);
        if parsed.changes_schema() && result.is_ok() {
            pool.schema_changed();
        }
        result
    }
}

/// A statement on its way to one database.
pub(crate) struct Routed {
    pub(crate) parsed: Arc<Parsed>,
    pub(crate) bound: Bound,
    pub(crate) database: usize,
    pub(crate) pool: Arc<Pool>,
}

impl Shared {
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::closed("the database"))
        } else {
            Ok(())
        }
    }

    pub(crate) fn pool(&self, database: usize) -> Result<&Arc<Pool>> {
        self.pools.get(database).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                format!("there is no database number {database}"),
            )
        })
    }

    pub(crate) fn parse(&self, text: &str) -> Result<Arc<Parsed>> {
        if let Some(parsed) = self.parsed.get(text) {
            return Ok(parsed);
        }
        let parsed = Parsed::new(text, &Dialect::SQLITE, self.router.sharding(), Mode::Statement)?;
        let parsed = Arc::new(parsed);
        self.parsed.insert(text, Arc::clone(&parsed));
        Ok(parsed)
    }

    /// Decides where a statement goes and writes it for there, without I/O.
    pub(crate) fn routed(&self, statement: &Statement) -> Result<Routed> {
        self.check_open()?;
        let parsed = self.parse(statement.text())?;
        let route = self.router.route(&parsed, statement)?;
        let bound = statement::bind(
            &parsed,
            statement.parameters(),
            &Dialect::SQLITE,
            route.shard,
            || self.router.physical(&parsed, route.shard),
        )?;
        Ok(Routed {
            parsed,
            bound,
            database: route.database,
            pool: Arc::clone(self.pool(route.database)?),
        })
    }

    /// Runs a statement on a connection of its own.
    pub(crate) async fn run(&self, routed: Routed, want: Want) -> Result<sqlite::Outcome> {
        let mut connection = routed.pool.connection(routed.parsed.writes()).await?;
        connection.run(routed.bound, want).await
    }
}

#[async_trait]
impl Backend for SqlDatabase {
    fn backend(&self) -> &'static str {
        Dialect::SQLITE.name
    }

    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.shared.check_open().during("health")?;
        let question = || Bound {
            text: "select 1".into(),
            values: Vec::new(),
        };
        try_join_all(self.shared.pools.iter().map(|pool| async move {
            let answer = async {
                let mut connection = pool.connection(false).await?;
                connection.run(question(), Want::Count).await
            };
            answer
                .await
                .map_err(|error| error.context(format_args!("{} does not answer", pool.shown())))
        }))
        .await
        .map(drop)
        .during("health")
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        let close = join_all(self.shared.pools.iter().map(|pool| pool.close()));
        if tokio::time::timeout(deadline, close).await.is_ok() {
            return Ok(());
        }
        let status = self.pool_status();
        Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "{} connection(s) were still in use after {deadline:?}; they are closed when their statements, streams and transactions end",
                status.open.saturating_sub(status.idle)
            ),
        ))
        .during("shutdown")
    }
}

#[async_trait]
impl Database for SqlDatabase {
    async fn execute(&self, statement: Statement) -> Result<Executed> {
        let outcome = self.read(statement, Want::Count, "execute").await?;
        Ok(Executed::new(outcome.rows_affected))
    }

    async fn fetch_all(&self, statement: Statement) -> Result<Vec<Row>> {
        Ok(self.read(statement, Want::All, "fetch_all").await?.rows)
    }

    async fn fetch_optional(&self, statement: Statement) -> Result<Option<Row>> {
        let outcome = self.read(statement, Want::First, "fetch_optional").await?;
        Ok(outcome.rows.into_iter().next())
    }

    async fn fetch(&self, statement: Statement) -> Result<RowStream> {
        let open = async {
            let routed = self.shared.routed(&statement)?;
            let connection = routed.pool.connection(routed.parsed.writes()).await?;
            let observed =
                crate::observe::Stream::new(Arc::clone(&routed.parsed), self.shared.config.slow_query);
            Ok(observed.watch(sqlite::stream(connection, routed.bound)?))
        };
        open.await.during("fetch")
    }

    async fn insert_many(&self, batch: BatchInsert) -> Result<Executed> {
        crate::batch::insert(&self.shared, batch)
            .await
            .during("insert_many")
    }

    async fn scatter(&self, scatter: Scatter) -> Result<Vec<Row>> {
        crate::scatter::scatter(&self.shared, scatter)
            .await
            .during("scatter")
    }

    async fn begin(&self, options: TransactionOptions) -> Result<Box<dyn Transaction>> {
        let begin = async {
            self.shared.check_open()?;
            let database = match &options.shard {
                Some((table, key)) => self.shared.router.database_for(table, key)?,
                None => 0,
            };
            let kind = if options.read_only {
                TransactionKind::ReadOnly
            } else {
                TransactionKind::Writing
            };
            SqlTransaction::begin(Arc::clone(&self.shared), database, kind).await
        };
        Ok(Box::new(begin.await.during("begin")?))
    }

    async fn migrate(&self, migrations: Migrations) -> Result<MigrationReport> {
        crate::migrate::migrate(&self.shared, &migrations)
            .await
            .during("migrate")
    }

    fn pool_status(&self) -> PoolStatus {
        let mut sum = PoolStatus::default();
        for status in self.shared.pools.iter().map(|pool| pool.status()) {
            sum.open = sum.open.saturating_add(status.open);
            sum.idle = sum.idle.saturating_add(status.idle);
            sum.max = sum.max.saturating_add(status.max);
        }
        sum
    }
}
