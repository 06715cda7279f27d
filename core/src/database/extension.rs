//! Typed convenience over any [`Database`]; do not implement it.

use std::time::Duration;

use async_trait::async_trait;
use scoped_futures::ScopedBoxFuture;
use serde::de::DeserializeOwned;

use super::transaction::no_row;
use super::{Database, Row, Statement, Transaction, TransactionOptions};
use crate::error::{ErrorKind, Result};

/// The longest pause between two runs of a repeatable transaction.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Typed convenience over any [`Database`].
#[async_trait]
pub trait DatabaseExt: Database {
    /// Runs a statement and decodes its rows.
    ///
    /// # Errors
    /// The statement's, or [`DataCorrupted`](ErrorKind::DataCorrupted) naming the column that does not fit.
    async fn query_as<T: DeserializeOwned>(&self, statement: Statement) -> Result<Vec<T>> {
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
    async fn query_one<T: DeserializeOwned>(&self, statement: Statement) -> Result<T> {
        self.fetch_optional(statement)
            .await?
            .map_or_else(|| Err(no_row()), Row::decode)
    }

    /// Runs a statement and decodes its first row, if there is one.
    ///
    /// # Errors
    /// As [`DatabaseExt::query_as`].
    async fn query_optional<T: DeserializeOwned>(&self, statement: Statement) -> Result<Option<T>> {
        self.fetch_optional(statement).await?.map(Row::decode).transpose()
    }

    /// Runs `work` in a transaction: commits when it returns `Ok`, rolls back when it returns `Err`, panics or is dropped.
    ///
    /// The closure borrows the transaction, so it cannot keep it; it ends in `.scope_boxed()` of
    /// [`ScopedFutureExt`](super::ScopedFutureExt), which lets it borrow from its surroundings too. With
    /// [`TransactionOptions::repeatable`] it runs again after a deadlock or serialisation failure, its own or the
    /// commit's.
    ///
    /// ```no_run
    /// # use infra_core::{Result, database::*};
    /// # async fn transfer(database: &dyn Database, from: i64, to: i64, amount: i64) -> Result<()> {
    /// database
    ///     .transaction(TransactionOptions::new().repeatable(3), |tx| {
    ///         async move {
    ///             let take = "update account set balance = balance - :amount where id = :id";
    ///             tx.execute(Statement::new(take).bind("amount", amount).bind("id", from)).await?;
    ///             let give = "update account set balance = balance + :amount where id = :id";
    ///             tx.execute(Statement::new(give).bind("amount", amount).bind("id", to)).await?;
    ///             Ok(())
    ///         }
    ///         .scope_boxed()
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// The closure's error, or the commit's.
    ///
    /// # Cancellation
    /// Dropping the future rolls back, unless the commit was already sent.
    async fn transaction<'env, T, F>(&self, options: TransactionOptions, work: F) -> Result<T>
    where
        T: Send + 'env,
        F: for<'t> Fn(&'t mut dyn Transaction) -> ScopedBoxFuture<'env, 't, Result<T>> + Send + Sync + 'env,
    {
        let mut pause = options.repeat_backoff.min(LONGEST_PAUSE);
        let mut repeats_left = options.repeats;
        loop {
            let failure = match attempt(self, &options, &work).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if repeats_left == 0 || failure.kind() != ErrorKind::Conflict || !failure.is_retryable() {
                return Err(failure);
            }
            repeats_left -= 1;
            // Between half and all of the pause, so that two that met do not meet again.
            tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl<D: Database + ?Sized> DatabaseExt for D {}

async fn attempt<'env, D, T, F>(database: &D, options: &TransactionOptions, work: &F) -> Result<T>
where
    D: Database + ?Sized,
    T: 'env,
    F: for<'t> Fn(&'t mut dyn Transaction) -> ScopedBoxFuture<'env, 't, Result<T>> + Send + Sync,
{
    let mut transaction = database.begin(options.clone()).await?;
    match work(&mut *transaction).await {
        Ok(value) => {
            transaction.commit().await?;
            Ok(value)
        }
        Err(error) => {
            if let Err(rollback) = transaction.rollback().await {
                // The server undoes an unfinished transaction by itself; the caller needs the first error.
                tracing::warn!(error = %rollback, "a rollback failed after another error");
            }
            Err(error)
        }
    }
}
