//! What the tests share.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]
#![allow(dead_code, reason = "each test binary uses its part")]

use std::time::Duration;

use infra_core::database::Database;
use infra_sql::{SqlConfig, SqlDatabase};

/// A database in memory of one's own.
pub(crate) async fn memory() -> SqlDatabase {
    SqlDatabase::connect(SqlConfig::development("sqlite::memory:"))
        .await
        .expect("opened")
}

/// A database in a file; the folder lives as long as the first part.
pub(crate) async fn file() -> (tempfile::TempDir, SqlDatabase) {
    let folder = tempfile::tempdir().expect("folder");
    let database = SqlDatabase::connect(SqlConfig::development(url(&folder, "app.db")))
        .await
        .expect("opened");
    (folder, database)
}

pub(crate) fn url(folder: &tempfile::TempDir, name: &str) -> String {
    format!("sqlite://{}", folder.path().join(name).display())
}

/// Waits until every connection is back in the pool; fails when one never comes.
pub(crate) async fn eventually_idle(database: &SqlDatabase) {
    for _ in 0..2_000 {
        let status = database.pool_status();
        if status.open == status.idle {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("a connection did not come back: {:?}", database.pool_status());
}

/// Polls a future so many times, then drops it, wherever it is. Between polls it waits until it is woken.
pub(crate) async fn drop_after<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await
}
