//! A connection in use: runs statements, interrupts them, and comes back to the pool in a state that the next user can trust.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use infra_core::{Error, ErrorKind, Result};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Sqlite};
use tokio::sync::OwnedSemaphorePermit;

use super::patience::Patience;
use super::pool::Pool;
use super::run::{Failure, Outcome, Want, Work, bounded};
use super::values;
use crate::error::{code, is_busy, translate, translate_commit};
use crate::statement::Bound;

/// SQLite asks whether to stop every so many steps of its virtual machine: some tens of microseconds.
const STEPS_BETWEEN_CHECKS: i32 = 1000;

/// What a transaction may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TransactionKind {
    /// Takes the write lock at its beginning, so that it cannot fail half-way because another one wrote.
    Writing,
    /// Sees one state of the database and refuses writes.
    ReadOnly,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// In a transaction, or on the way in or out.
    Transaction(TransactionKind),
    /// In a transaction that SQLite may have undone already.
    Doomed(TransactionKind),
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Connection {
    pool: Arc<Pool>,
    /// `None` only while being dropped or handed on.
    inner: Option<PoolConnection<Sqlite>>,
    /// Stops the running statement at SQLite's next check.
    interrupt: Arc<AtomicBool>,
    state: State,
    /// A statement was begun and its end was not seen.
    running: bool,
    writer: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// Makes a connection of the pool interruptible. Fails when the connection's thread has ended.
    pub(super) async fn prepare(
        pool: Arc<Pool>,
        mut inner: PoolConnection<Sqlite>,
    ) -> Result<Self, sqlx::Error> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&interrupt);
        let prepared = inner.lock_handle().await.map(|mut handle| {
            handle.set_progress_handler(STEPS_BETWEEN_CHECKS, move || !asked.load(Ordering::Relaxed));
            handle.as_raw_handle().addr().get()
        });
        let ready = match prepared.map(|address| (address, pool.is_stale(address))) {
            Ok((address, Some(changes))) => refresh(&mut inner, pool.busy_timeout)
                .await
                .map(|()| pool.refreshed(address, changes)),
            Ok((_, None)) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = ready {
            inner.close_on_drop();
            return Err(error);
        }
        Ok(Self {
            pool,
            inner: Some(inner),
            interrupt,
            state: State::Idle,
            running: false,
            writer: None,
        })
    }

    /// Keeps the write lock of this process until the connection is given back.
    pub(super) fn hold(&mut self, writer: OwnedSemaphorePermit) {
        self.writer = Some(writer);
    }

    /// Runs a statement.
    ///
    /// # Cancellation
    /// Dropping the future interrupts the statement; inside a transaction, the transaction then only rolls back.
    pub(crate) async fn run(&mut self, bound: Bound, want: Want) -> Result<Outcome> {
        self.check_alive()?;
        let work = Work {
            pool: &self.pool,
            text: &bound.text,
            arguments: values::encode(bound.values)?,
            want,
        };
        let Some(inner) = self.inner.as_mut() else {
            return Err(given_back());
        };
        self.running = true;
        let result = bounded(
            work.patiently(inner),
            &self.interrupt,
            self.pool.statement_timeout,
        )
        .await;
        self.settle(result)
    }

    /// Runs several statements without parameters, as they stand and for as long as they take.
    pub(crate) async fn run_script(&mut self, text: &str) -> Result<()> {
        self.check_alive()?;
        let Some(inner) = self.inner.as_mut() else {
            return Err(given_back());
        };
        self.running = true;
        let result = inner.execute(sqlx::raw_sql(AssertSqlSafe(text))).await;
        self.settle(result.map(drop).map_err(Failure::Driver))
    }

    /// Begins a transaction, waiting for the lock that another connection may hold.
    pub(crate) async fn begin(&mut self, kind: TransactionKind) -> Result<()> {
        // Before the first byte is sent: if this future is dropped, nobody knows whether the transaction began.
        self.state = State::Transaction(kind);
        let text = match kind {
            TransactionKind::Writing => "begin immediate",
            TransactionKind::ReadOnly => "pragma query_only = 1; begin",
        };
        self.control(text).await.map_err(translate)
    }

    /// Commits. When it fails, the transaction is rolled back in the background where it still exists.
    pub(crate) async fn commit(mut self) -> Result<()> {
        self.check_alive()?;
        let text = match self.kind() {
            Some(TransactionKind::ReadOnly) => "commit; pragma query_only = 0",
            _ => "commit",
        };
        self.control(text).await.map_err(translate_commit)?;
        self.state = State::Idle;
        Ok(())
    }

    /// Rolls back and waits for it.
    pub(crate) async fn rollback(mut self) -> Result<()> {
        let Some(kind) = self.kind() else {
            return Ok(());
        };
        self.stop_running();
        let Some(inner) = self.inner.as_mut() else {
            return Err(given_back());
        };
        leave_transaction(inner, kind).await.map_err(translate)?;
        self.state = State::Idle;
        self.running = false;
        Ok(())
    }

    /// Runs a statement about savepoints.
    pub(crate) async fn savepoint(&mut self, text: &str) -> Result<()> {
        self.check_alive()?;
        self.control(text).await.map_err(translate)
    }

    /// Forgets prepared statements, after one that changed the schema.
    pub(crate) async fn forget_statements(&mut self) -> Result<()> {
        let Some(inner) = self.inner.as_mut() else {
            return Err(given_back());
        };
        refresh(inner, self.pool.busy_timeout).await.map_err(translate)
    }

    /// What a stream needs to run a statement by itself. It sets the flag while a statement runs.
    pub(super) fn parts(&mut self) -> Option<(&mut SqliteConnection, &Arc<Pool>, &AtomicBool, &mut bool)> {
        let inner = self.inner.as_mut()?;
        Some((&mut **inner, &self.pool, &self.interrupt, &mut self.running))
    }

    fn kind(&self) -> Option<TransactionKind> {
        match self.state {
            State::Idle => None,
            State::Transaction(kind) | State::Doomed(kind) => Some(kind),
        }
    }

    /// Refuses to go on in a transaction that may be gone: what follows would be committed statement by statement.
    fn check_alive(&mut self) -> Result<()> {
        if self.running
            && let State::Transaction(kind) = self.state
        {
            self.state = State::Doomed(kind);
        }
        match self.state {
            State::Doomed(_) => Err(Error::new(
                ErrorKind::Cancelled,
                "an earlier statement of this transaction was cancelled, timed out or failed in a way that undoes the transaction; roll back and begin again",
            )
            .without_effect()),
            _ => Ok(()),
        }
    }

    /// Takes note of how a statement ended.
    fn settle<T>(&mut self, result: Result<T, Failure>) -> Result<T> {
        let failure = match result {
            Ok(value) => {
                self.running = false;
                return Ok(value);
            }
            Err(failure) => failure,
        };
        // A statement that did not stop is still running.
        self.running = matches!(failure, Failure::Running { .. });
        if !self.running {
            self.interrupt.store(false, Ordering::Relaxed);
        }
        if let State::Transaction(kind) = self.state
            && failure.ends_transaction()
        {
            self.state = State::Doomed(kind);
        }
        Err(failure.into_error())
    }

    fn stop_running(&self) {
        if self.running {
            self.interrupt.store(true, Ordering::Relaxed);
        }
    }

    /// Runs a statement that controls a transaction, again and again while another connection's lock is in the way.
    async fn control(&mut self, text: &str) -> Result<(), sqlx::Error> {
        let mut patience = Patience::new(self.pool.busy_timeout);
        let Some(inner) = self.inner.as_mut() else {
            return Err(sqlx::Error::WorkerCrashed);
        };
        loop {
            match inner.execute(sqlx::raw_sql(AssertSqlSafe(text))).await {
                Ok(_) => return Ok(()),
                Err(error) if is_busy(&error) && patience.pause().await => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Gives the connection back as the next user expects it: nothing running, no transaction.
impl Drop for Connection {
    fn drop(&mut self) {
        self.stop_running();
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        // The driver spawns a task when a connection comes back, wherever this is dropped.
        let _runtime = self.pool.runtime.enter();
        let Some(kind) = self.kind() else {
            // The pool waits for the running statement before it hands the connection on.
            return drop(inner);
        };
        let writer = self.writer.take();
        tokio::spawn(async move {
            if let Err(error) = leave_transaction(&mut inner, kind).await {
                tracing::debug!(target: "infra.db", %error, "a transaction was not rolled back; its connection is closed instead");
                inner.close_on_drop();
            }
            drop(inner);
            drop(writer);
        });
    }
}

/// Forgets prepared statements and makes SQLite look at the schema: preparing alone would use the one it remembers.
async fn refresh(connection: &mut SqliteConnection, wait: Duration) -> Result<(), sqlx::Error> {
    connection.clear_cached_statements().await?;
    let mut patience = Patience::new(wait);
    loop {
        match connection.execute("select 1 from sqlite_master limit 1").await {
            Err(error) if is_busy(&error) && patience.pause().await => {}
            result => return result.map(drop),
        }
    }
}

/// Rolls back, where there is something to roll back.
async fn leave_transaction(
    connection: &mut SqliteConnection,
    kind: TransactionKind,
) -> Result<(), sqlx::Error> {
    match connection.execute("rollback").await {
        Ok(_) => {}
        // "cannot rollback - no transaction is active": SQLite had undone it by itself, or it never began.
        Err(error) if code(&error) == Some(1) => {}
        Err(error) => return Err(error),
    }
    if kind == TransactionKind::ReadOnly {
        connection.execute("pragma query_only = 0").await?;
    }
    Ok(())
}

fn given_back() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the connection was used after it had been given back",
    )
}
