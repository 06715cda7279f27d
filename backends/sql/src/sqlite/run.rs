//! Running one statement to its end, or stopping it: waiting for locks, bounding the time, reading rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use infra_core::database::Row;
use infra_core::{Error, ErrorKind};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Either, Executor as _, Row as _};

use super::patience::Patience;
use super::pool::Pool;
use super::shape::Shape;
use super::values;
use crate::error::{ends_transaction, is_busy, is_interrupted, translate};

/// How long an interrupted statement may take to stop before its connection is given up.
const GRACE: Duration = Duration::from_secs(2);

/// What the caller wants of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// The number of rows affected.
    Count,
    /// All rows.
    All,
    /// The first row; the statement only reads, so that it can be stopped after it.
    First,
}

/// What a statement did.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows_affected: u64,
    /// The columns' names, where rows were wanted.
    pub(crate) columns: Option<Arc<[String]>>,
    pub(crate) rows: Vec<Row>,
}

/// Why a statement failed.
#[derive(Debug)]
pub(super) enum Failure {
    Driver(sqlx::Error),
    Decoding(Error),
    /// Interrupted because its time was over; it had no effect.
    TimedOut(Duration),
    /// Its time was over and it did not stop.
    Running(Duration),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Driver(error)
    }
}

impl Failure {
    pub(super) fn ends_transaction(&self) -> bool {
        match self {
            Self::Driver(error) => ends_transaction(error),
            Self::Decoding(_) => false,
            Self::TimedOut(_) | Self::Running(_) => true,
        }
    }

    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Driver(error) => translate(error),
            Self::Decoding(error) => error,
            Self::TimedOut(limit) => Error::new(
                ErrorKind::Timeout,
                format!("the statement ran for {limit:?} and was interrupted; make it cheaper or raise statement_timeout"),
            )
            .without_effect(),
            Self::Running(limit) => Error::new(
                ErrorKind::OutcomeUnknown,
                format!("the statement ran for {limit:?} and did not stop when interrupted; whether it took effect is not known"),
            ),
        }
    }
}

/// Runs `work` for at most `limit`, then interrupts it and waits a little for how it ends.
pub(super) async fn bounded<T>(
    work: impl Future<Output = Result<T, Failure>>,
    interrupt: &AtomicBool,
    limit: Duration,
) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    if let Ok(result) = tokio::time::timeout(limit, work.as_mut()).await {
        return result;
    }
    interrupt.store(true, Ordering::Relaxed);
    match tokio::time::timeout(GRACE, work).await {
        Ok(Err(Failure::Driver(error))) if is_interrupted(&error) || is_busy(&error) => {
            Err(Failure::TimedOut(limit))
        }
        // It came to its end after all.
        Ok(result) => result,
        Err(_) => Err(Failure::Running(limit)),
    }
}

/// A statement to be run.
pub(super) struct Work<'a> {
    pub(super) pool: &'a Pool,
    pub(super) text: &'a Arc<str>,
    pub(super) arguments: SqliteArguments,
    pub(super) want: Want,
}

impl Work<'_> {
    /// Runs it, again and again while another connection's lock is in the way: a statement that meets one has no effect.
    pub(super) async fn patiently(self, connection: &mut SqliteConnection) -> Result<Outcome, Failure> {
        let mut patience = Patience::new(self.pool.busy_timeout);
        loop {
            match self.once(connection).await {
                Err(Failure::Driver(error)) if is_busy(&error) => {
                    if !patience.pause().await {
                        return Err(Failure::Driver(error));
                    }
                }
                result => return result,
            }
        }
    }

    async fn once(&self, connection: &mut SqliteConnection) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        let mut reader = match self.want {
            Want::Count => None,
            Want::All | Want::First => Some(Reader::new(self.pool, connection, self.text).await?),
        };
        outcome.columns = reader.as_ref().map(|reader| Arc::clone(reader.shape.names()));
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(self.text)), self.arguments.clone());
        if self.want == Want::First {
            let row = connection.fetch_optional(query).await?;
            if let (Some(row), Some(reader)) = (row, &mut reader) {
                outcome.rows.push(reader.read(&row)?);
            }
            return Ok(outcome);
        }
        let mut results = connection.fetch_many(query);
        while let Some(result) = results.try_next().await? {
            match (result, &mut reader) {
                (Either::Left(done), _) => outcome.rows_affected += done.rows_affected(),
                (Either::Right(row), Some(reader)) => outcome.rows.push(reader.read(&row)?),
                (Either::Right(_), None) => {}
            }
        }
        Ok(outcome)
    }
}

/// Turns the driver's rows into ours.
pub(super) struct Reader {
    shape: Shape,
    checked: bool,
}

impl Reader {
    /// Looks up the shape of the statement's result, or asks the engine for it.
    pub(super) async fn new(
        pool: &Pool,
        connection: &mut SqliteConnection,
        text: &str,
    ) -> Result<Self, sqlx::Error> {
        let shape = match pool.shapes.get(text) {
            Some(shape) => shape,
            None => {
                let shape = Shape::describe(connection, text).await?;
                pool.shapes.insert(text, shape.clone());
                shape
            }
        };
        Ok(Self {
            shape,
            checked: false,
        })
    }

    pub(super) fn read(&mut self, row: &sqlx::sqlite::SqliteRow) -> Result<Row, Failure> {
        if !self.checked {
            // The table may have been altered since the shape was worked out.
            if !self.shape.fits(row.columns()) {
                self.shape = Shape::of_columns(row.columns());
            }
            self.checked = true;
        }
        values::decode(row, &self.shape).map_err(Failure::Decoding)
    }
}
