//! The lock that makes concurrent starters wait: a row that expires, in the first database.

use std::sync::Arc;
use std::time::Duration;

use infra_core::database::Value;
use infra_core::{Error, ErrorKind, Result, Retry};
use tokio::time::Instant;

use super::{change, statement};
use crate::sqlite::{Pool, TransactionKind, Want};

const TABLE: &str = "create table if not exists _infra_migration_lock (\
    id bigint primary key check (id = 1), owner text not null, expires_at bigint not null)";

/// How long a starter that died keeps the others waiting.
const EXPIRY: Duration = Duration::from_secs(15);

const PAUSE: Duration = Duration::from_millis(50);

/// The lock, held.
#[derive(Debug)]
pub(super) struct Lock {
    pool: Arc<Pool>,
    owner: String,
    wait: Duration,
    held: bool,
}

impl Lock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) when another starter kept it for longer than `wait`.
    ///
    /// # Cancellation
    /// A lock that was taken already is given back in the background.
    pub(super) async fn acquire(pool: Arc<Pool>, wait: Duration) -> Result<Self> {
        change(&pool, vec![statement(TABLE, vec![])]).await?;
        let mut lock = Self {
            pool,
            owner: uuid::Uuid::new_v4().to_string(),
            wait,
            held: true,
        };
        match lock.take().await {
            Ok(()) => Ok(lock),
            Err(error) => {
                lock.held = false;
                Err(error)
            }
        }
    }

    /// Postpones the expiry.
    pub(super) async fn renew(&self) -> Result<()> {
        self.take().await
    }

    /// Gives the lock back; a failure is logged, and the lock then expires by itself.
    pub(super) async fn release(mut self) {
        if let Err(error) = give_back(&self.pool, &self.owner).await {
            tracing::warn!(target: "infra.db", %error, "the migration lock was not given back; it expires by itself");
        }
        // Only now: if this future is dropped before, `drop` gives the lock back.
        self.held = false;
    }

    async fn take(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.try_take().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                // A starter at work holds the engine's write lock too.
                Err(error) if error.kind() == ErrorKind::Conflict && error.is_retryable() => {}
                Err(error) => return Err(error),
            }
            if begun.elapsed() >= self.wait {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!(
                        "another starter has been migrating for more than {:?}; wait for it or raise migration_wait",
                        self.wait
                    ),
                )
                .with_retry(Retry::Backoff));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_take(&self) -> Result<bool> {
        let now = unix_milliseconds();
        let expiry = i64::try_from(EXPIRY.as_millis()).unwrap_or(i64::MAX);
        let take = "insert into _infra_migration_lock (id, owner, expires_at) values (1, ?, ?) \
             on conflict (id) do update set owner = excluded.owner, expires_at = excluded.expires_at \
             where _infra_migration_lock.owner = excluded.owner or _infra_migration_lock.expires_at < ?";
        let values: Vec<Value> = vec![
            self.owner.as_str().into(),
            now.saturating_add(expiry).into(),
            now.into(),
        ];
        let mut connection = self.pool.connection(true).await?;
        connection.begin(TransactionKind::Writing).await?;
        let taken = connection.run(statement(take, values), Want::Count).await?;
        connection.commit().await?;
        Ok(taken.rows_affected > 0)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if !self.held {
            return;
        }
        let (pool, owner) = (Arc::clone(&self.pool), std::mem::take(&mut self.owner));
        self.pool.spawn(async move {
            if let Err(error) = give_back(&pool, &owner).await {
                tracing::debug!(target: "infra.db", %error, "the migration lock was not given back; it expires by itself");
            }
        });
    }
}

async fn give_back(pool: &Arc<Pool>, owner: &str) -> Result<()> {
    let release = "delete from _infra_migration_lock where owner = ?";
    change(pool, vec![statement(release, vec![owner.into()])]).await
}

fn unix_milliseconds() -> i64 {
    let nanoseconds = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)
}
