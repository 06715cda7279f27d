//! Transactions on a real SQLite: what ends them, and that nothing of them stays behind.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use infra_core::database::{Database, DatabaseExt, ScopedFutureExt as _, Statement, TransactionOptions};
use infra_core::{Error, ErrorKind};
use infra_sql::{SqlConfig, SqlDatabase};

use support::{eventually_idle, file, memory, url};

async fn accounts(database: &SqlDatabase) {
    database
        .execute("create table account (id bigint primary key, balance bigint not null)".into())
        .await
        .expect("created");
    database
        .execute("insert into account values (1, 100), (2, 100)".into())
        .await
        .expect("filled");
}

async fn balance(database: &SqlDatabase, id: i64) -> i64 {
    let read = Statement::new("select balance from account where id = :id").bind("id", id);
    database.query_one(read).await.expect("read")
}

fn add(amount: i64, id: i64) -> Statement {
    Statement::new("update account set balance = balance + :amount where id = :id")
        .bind("amount", amount)
        .bind("id", id)
}

#[tokio::test]
async fn commits_all_or_nothing() {
    let database = memory().await;
    accounts(&database).await;
    database
        .transaction(TransactionOptions::new(), |tx| {
            async move {
                tx.execute(add(-30, 1)).await?;
                tx.execute(add(30, 2)).await?;
                Ok(())
            }
            .scope_boxed()
        })
        .await
        .expect("committed");
    let refused: Result<(), Error> = database
        .transaction(TransactionOptions::new(), |tx| {
            async move {
                tx.execute(add(-30, 1)).await?;
                Err(Error::new(ErrorKind::Conflict, "changed my mind"))
            }
            .scope_boxed()
        })
        .await;
    assert_eq!(refused.expect_err("rolled back").message(), "changed my mind");
    assert_eq!(
        (balance(&database, 1).await, balance(&database, 2).await),
        (70, 130)
    );
    eventually_idle(&database).await;
}

#[tokio::test]
async fn rolls_back_on_drop_and_on_panic() {
    let (_folder, in_file) = file().await;
    for database in [memory().await, in_file] {
        accounts(&database).await;
        let mut dropped = database.begin(TransactionOptions::new()).await.expect("begun");
        dropped.execute(add(-100, 1)).await.expect("updated");
        drop(dropped);
        let panicking = database.clone();
        let panicked = tokio::spawn(async move {
            panicking
                .transaction(TransactionOptions::new(), |tx| {
                    async move {
                        tx.execute(add(-100, 1)).await?;
                        if true {
                            panic!("on purpose");
                        }
                        Ok(())
                    }
                    .scope_boxed()
                })
                .await
        })
        .await;
        assert!(panicked.expect_err("panicked").is_panic());
        // The write lock is free again, and the connections can be used.
        database.execute(add(1, 2)).await.expect("the lock is free");
        assert_eq!(
            (balance(&database, 1).await, balance(&database, 2).await),
            (100, 101)
        );
        eventually_idle(&database).await;
    }
}

#[tokio::test]
async fn savepoints_nest_and_their_names_are_checked() {
    let database = memory().await;
    accounts(&database).await;
    let mut tx = database.begin(TransactionOptions::new()).await.expect("begun");
    tx.execute(add(1, 1)).await.expect("updated");
    tx.savepoint("outer").await.expect("marked");
    tx.execute(add(10, 1)).await.expect("updated");
    tx.savepoint("inner").await.expect("marked");
    tx.execute(add(100, 1)).await.expect("updated");
    tx.rollback_to("inner").await.expect("undone");
    tx.release_savepoint("inner").await.expect("released");
    tx.savepoint("outer")
        .await
        .expect("the same name hides the earlier one");
    tx.execute(add(1000, 1)).await.expect("updated");
    tx.rollback_to("outer").await.expect("undone");
    tx.commit().await.expect("committed");
    assert_eq!(balance(&database, 1).await, 111);

    let mut tx = database.begin(TransactionOptions::new()).await.expect("begun");
    for name in ["", "a b", "a\"; drop table account; --", "é", &"x".repeat(64)] {
        assert_eq!(
            tx.savepoint(name).await.expect_err(name).kind(),
            ErrorKind::InvalidArgument
        );
    }
    assert_eq!(
        tx.rollback_to("absent").await.expect_err("absent").kind(),
        ErrorKind::InvalidArgument
    );
    let refused = tx
        .execute("insert into account values (1, 1)".into())
        .await
        .expect_err("exists");
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    tx.execute(add(5, 2))
        .await
        .expect("a refused statement does not end the transaction");
    tx.rollback().await.expect("rolled back");
    assert_eq!(balance(&database, 2).await, 100);
}

#[tokio::test]
async fn a_read_only_transaction_sees_one_state_and_writes_nothing() {
    let (_folder, database) = file().await;
    accounts(&database).await;
    let mut reading = database
        .begin(TransactionOptions::new().read_only())
        .await
        .expect("begun");
    let before = reading
        .fetch_all("select balance from account".into())
        .await
        .expect("read");
    database
        .execute(add(1, 1))
        .await
        .expect("a reader does not stop a writer");
    let again = reading
        .fetch_all("select balance from account".into())
        .await
        .expect("read");
    assert!(before == again, "the same state");
    let refused = reading.execute(add(1, 1)).await.expect_err("read-only");
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    reading.commit().await.expect("ended");
    drop(
        database
            .begin(TransactionOptions::new().read_only())
            .await
            .expect("begun"),
    );
    eventually_idle(&database).await;
    for _ in 0..10 {
        database
            .execute(add(1, 2))
            .await
            .expect("no connection stayed read-only");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_transfers_lose_nothing() {
    let (_folder, in_file) = file().await;
    for database in [memory().await, in_file] {
        accounts(&database).await;
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                let database = database.clone();
                tokio::spawn(async move {
                    for round in 0..20 {
                        let amount = (task * 20 + round) % 7;
                        database
                            .transaction(TransactionOptions::new().repeatable(5), |tx| {
                                async move {
                                    tx.execute(add(-amount, 1)).await?;
                                    tokio::task::yield_now().await;
                                    tx.execute(add(amount, 2)).await?;
                                    Ok(())
                                }
                                .scope_boxed()
                            })
                            .await
                            .expect("transferred");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(balance(&database, 1).await + balance(&database, 2).await, 200);
        assert_eq!(
            balance(&database, 1).await,
            100 - (0..320).map(|n| n % 7).sum::<i64>()
        );
        eventually_idle(&database).await;
    }
}

#[tokio::test]
async fn a_held_write_lock_is_a_retryable_conflict() {
    let folder = tempfile::tempdir().expect("folder");
    let open = || {
        SqlDatabase::connect(
            SqlConfig::development(url(&folder, "app.db")).with_busy_timeout(Duration::from_millis(50)),
        )
    };
    let (holder, other) = (open().await.expect("opened"), open().await.expect("opened"));
    accounts(&holder).await;
    let mut tx = holder.begin(TransactionOptions::new()).await.expect("begun");
    tx.execute(add(1, 1)).await.expect("updated");
    // `other` stands for another process, `holder` for another task of this one.
    for database in [&holder, &other] {
        let begin = database
            .begin(TransactionOptions::new())
            .await
            .expect_err("locked");
        let write = database.execute(add(1, 2)).await.expect_err("locked");
        for error in [begin, write] {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            assert!(error.is_retryable());
        }
    }
    tx.commit().await.expect("committed");
    other.execute(add(1, 2)).await.expect("free again");
    assert_eq!((balance(&other, 1).await, balance(&other, 2).await), (101, 101));
}

#[tokio::test]
async fn repeats_the_closure_after_a_conflict_when_told_to() {
    let database = memory().await;
    accounts(&database).await;
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let outcome = database
        .transaction(TransactionOptions::new().repeatable(3), move |tx| {
            let run = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                tx.execute(add(1, 1)).await?;
                if run < 2 {
                    return Err(
                        Error::new(ErrorKind::Conflict, "again").with_retry(infra_core::Retry::Backoff)
                    );
                }
                Ok(run)
            }
            .scope_boxed()
        })
        .await;
    assert_eq!((outcome.expect("committed"), runs.load(Ordering::SeqCst)), (2, 3));
    assert_eq!(balance(&database, 1).await, 101);
}

#[tokio::test]
async fn a_transaction_whose_statement_was_dropped_only_rolls_back() {
    let database = memory().await;
    accounts(&database).await;
    let mut tx = database.begin(TransactionOptions::new()).await.expect("begun");
    tx.execute(add(1, 1)).await.expect("updated");
    let endless = "update account set balance = (with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) from n)";
    let given_up = tokio::time::timeout(Duration::from_millis(20), tx.execute(endless.into())).await;
    assert!(given_up.is_err(), "it never ends by itself");
    let refused = tx
        .execute(add(1, 2))
        .await
        .expect_err("the transaction may be gone");
    assert_eq!(refused.kind(), ErrorKind::Cancelled);
    assert_eq!(
        tx.commit().await.expect_err("never half a transaction").kind(),
        ErrorKind::Cancelled
    );
    assert_eq!(
        (balance(&database, 1).await, balance(&database, 2).await),
        (100, 100)
    );
    eventually_idle(&database).await;
    database.execute(add(1, 1)).await.expect("the lock is free");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_interrupted() {
    let config = SqlConfig::development("sqlite::memory:").with_statement_timeout(Duration::from_millis(30));
    let database = SqlDatabase::connect(config).await.expect("opened");
    let endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) from n";
    let error = database.fetch_all(endless.into()).await.expect_err("interrupted");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(error.had_no_effect());
    eventually_idle(&database).await;
    let one: i64 = database
        .query_one("select 1".into())
        .await
        .expect("the pool works");
    assert_eq!(one, 1);
}

#[tokio::test]
async fn an_exhausted_pool_is_a_timeout() {
    let config = SqlConfig::development("sqlite::memory:")
        .with_connections(1, 0)
        .with_acquire_timeout(Duration::from_millis(50));
    let database = SqlDatabase::connect(config).await.expect("opened");
    let tx = database
        .begin(TransactionOptions::new().read_only())
        .await
        .expect("begun");
    let error = database
        .fetch_all("select 1".into())
        .await
        .expect_err("no connection");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.is_retryable());
    tx.rollback().await.expect("ended");
    database.fetch_all("select 1".into()).await.expect("free again");
}
