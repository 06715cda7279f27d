//! One SQLite database: its pool of connections and the lock that orders this process's writers.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::database::PoolStatus;
use infra_core::{Error, ErrorKind, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqlitePool};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;
use super::shape::Shape;
use crate::cache::Cache;
use crate::config::{Durability, SqlConfig};
use crate::dsn::{self, Access, Location};
use crate::error::translate;

/// One database.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(super) connections: SqlitePool,
    /// Keeps a database in memory alive while the pool has no connection.
    anchor: Mutex<Option<SqliteConnection>>,
    /// SQLite has one writer at a time. Writers of one process queue here, in order, instead of polling for the lock.
    writer: Arc<Semaphore>,
    pub(super) shapes: Cache<Shape>,
    schema: Mutex<SchemaChanges>,
    pub(super) busy_timeout: Duration,
    pub(super) statement_timeout: Duration,
    pub(super) runtime: Handle,
    max_connections: u32,
    shown: String,
}

/// The changes of the schema by this process.
#[derive(Debug, Default)]
struct SchemaChanges {
    changes: u64,
    /// The addresses of the connections that have looked at the schema since its last change.
    refreshed: HashSet<usize>,
}

impl Pool {
    /// Opens the database, creating its file and folder when they are missing and wanted.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) when the folder cannot be made; otherwise what SQLite answered.
    pub(crate) async fn open(url: &str, config: &SqlConfig) -> Result<Self> {
        let shown = dsn::redacted(url);
        let location = dsn::parse(url)?;
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                "a database is opened on a tokio runtime; there is none here",
            )
            .with_source(error)
        })?;
        if let Location::File {
            path,
            access: Access::Create,
        } = &location
        {
            create_folder(path).await?;
        }
        let options = connect_options(&location, config);
        let opened = Self::open_with(options, &location, config).await;
        let (connections, anchor) =
            opened.map_err(|error| translate(error).context(format_args!("cannot open {shown}")))?;
        Ok(Self {
            connections,
            anchor: Mutex::new(anchor),
            writer: Arc::new(Semaphore::new(1)),
            shapes: Cache::new(config.statement_cache),
            schema: Mutex::default(),
            busy_timeout: config.busy_timeout,
            statement_timeout: config.statement_timeout,
            runtime,
            max_connections: config.max_connections,
            shown,
        })
    }

    async fn open_with(
        options: SqliteConnectOptions,
        location: &Location,
        config: &SqlConfig,
    ) -> Result<(SqlitePool, Option<SqliteConnection>), sqlx::Error> {
        // The first connection switches a file to write-ahead logging before others come.
        let first = options.connect().await?;
        let anchor = match location {
            Location::Memory { .. } => Some(first),
            Location::File { .. } => {
                first.close().await?;
                None
            }
        };
        let connections = SqlitePoolOptions::new()
            .max_connections(config.max_connections)
            .min_connections(config.idle_connections)
            .max_lifetime(config.max_lifetime)
            .idle_timeout(config.idle_timeout)
            .acquire_timeout(config.acquire_timeout)
            // Preparing a connection for its next user shows whether it still answers.
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                // From here on, waiting for locks is our business: see `Patience`.
                Box::pin(async move { connection.execute("pragma busy_timeout = 0").await.map(drop) })
            })
            .connect_with(options)
            .await?;
        Ok((connections, anchor))
    }

    /// Takes a connection; one that writes keeps the write lock of this process until it is given back.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when its turn among the writers does not come in time,
    /// [`Timeout`](ErrorKind::Timeout) when none becomes free in time, [`Closed`](ErrorKind::Closed) after
    /// [`Pool::close`].
    ///
    /// # Cancellation
    /// Dropping the future gives back what was taken.
    pub(crate) async fn connection(self: &Arc<Self>, to_write: bool) -> Result<Connection> {
        // The turn among the writers comes first: a writer that waits holds no connection.
        let writer = if to_write {
            Some(self.writer().await?)
        } else {
            None
        };
        let mut connection = self.acquire().await?;
        if let Some(writer) = writer {
            connection.hold(writer);
        }
        Ok(connection)
    }

    async fn acquire(self: &Arc<Self>) -> Result<Connection> {
        // Every connection of the pool may have lost its thread; a new one has not.
        let mut tries = self.max_connections.saturating_add(1);
        loop {
            let connection = self.connections.acquire().await.map_err(translate)?;
            match Connection::prepare(Arc::clone(self), connection).await {
                Ok(connection) => return Ok(connection),
                Err(sqlx::Error::WorkerCrashed) if tries > 0 => tries -= 1,
                Err(error) => return Err(translate(error)),
            }
        }
    }

    /// Waits for its turn among the writers of this process.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict), retryable, when the turn does not come within the busy timeout.
    async fn writer(&self) -> Result<OwnedSemaphorePermit> {
        match tokio::time::timeout(self.busy_timeout, Arc::clone(&self.writer).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::closed("the database")),
            Err(_) => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "another transaction of this process has held the write lock for more than {:?}; repeat, and keep transactions short",
                    self.busy_timeout
                ),
            )
            .with_retry(infra_core::Retry::Backoff)
            .without_effect()),
        }
    }

    /// Runs work in the background on the runtime on which the database was opened.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(work));
    }

    pub(crate) fn native(&self) -> &SqlitePool {
        &self.connections
    }

    /// The name for people to read.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn status(&self) -> PoolStatus {
        let idle = u32::try_from(self.connections.num_idle()).unwrap_or(u32::MAX);
        PoolStatus::new(self.connections.size(), idle, self.max_connections)
    }

    /// Forgets what was worked out from the schema; every connection forgets its prepared statements before its next use.
    ///
    /// The driver would otherwise read rows of an altered table with the columns of before, and panic in its thread.
    pub(crate) fn schema_changed(&self) {
        self.shapes.clear();
        let mut schema = self.schema.lock().unwrap_or_else(PoisonError::into_inner);
        schema.changes += 1;
        schema.refreshed.clear();
    }

    /// How often the schema had changed, when the connection at this address has not looked at it since.
    pub(super) fn is_stale(&self, address: usize) -> Option<u64> {
        let schema = self.schema.lock().unwrap_or_else(PoisonError::into_inner);
        (schema.changes > 0 && !schema.refreshed.contains(&address)).then_some(schema.changes)
    }

    /// Notes that a connection has looked at the schema as it was after so many changes.
    pub(super) fn refreshed(&self, address: usize, changes: u64) {
        let mut schema = self.schema.lock().unwrap_or_else(PoisonError::into_inner);
        if schema.changes == changes {
            schema.refreshed.insert(address);
        }
    }

    /// Takes no more calls, waits until every connection has come back, and closes them.
    pub(crate) async fn close(&self) {
        self.connections.close().await;
        let anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(anchor) = anchor
            && let Err(error) = anchor.close().await
        {
            tracing::debug!(target: "infra.db", %error, "the last connection did not close cleanly");
        }
    }
}

async fn create_folder(path: &Path) -> Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    let wanted = folder.to_owned();
    let made = tokio::task::spawn_blocking(move || std::fs::create_dir_all(&wanted)).await;
    let problem = match made {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(error) => std::io::Error::other(error),
    };
    Err(Error::invalid_config(format!(
        "the folder {} of the database cannot be created: {problem}; choose another path or change its permissions",
        folder.display()
    ))
    .with_source(problem))
}

fn connect_options(location: &Location, config: &SqlConfig) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .busy_timeout(config.busy_timeout)
        .statement_cache_capacity(config.statement_cache)
        // Slow and failing statements are logged by us, without values.
        .disable_statement_logging();
    match location {
        // A name that begins with a slash is shared by the connections of the process
        // (<https://www.sqlite.org/src/file/src/memdb.c>). Unlike shared-cache mode this locks like a file does.
        Location::Memory { name } => {
            let name = match name {
                Some(name) => format!("/shared/{name}"),
                None => format!("/private/{}", uuid::Uuid::new_v4()),
            };
            options.filename(name).vfs("memdb").create_if_missing(true)
        }
        Location::File { path, access } => {
            let options = options.filename(path);
            match access {
                Access::Read => options.read_only(true),
                Access::Write | Access::Create => options
                    .create_if_missing(*access == Access::Create)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(match config.durability {
                        Durability::Full => SqliteSynchronous::Full,
                        Durability::Relaxed => SqliteSynchronous::Normal,
                    }),
            }
        }
    }
}
