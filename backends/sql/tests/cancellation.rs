//! Every future dropped at every poll: nothing leaks, nothing is half done, and the next user finds all in order.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use futures_util::TryStreamExt as _;
use infra_core::database::{
    BatchInsert, Database, DatabaseExt, Scatter, ShardingConfig, Statement, TableSharding, TransactionOptions,
};
use infra_core::{Backend as _, ErrorKind, Result};
use infra_sql::{SqlConfig, SqlDatabase};

use support::{drop_after, eventually_idle, memory};

const ENDLESS: &str = "with recursive n (i) as (select 1 union all select i + 1 from n) select max(i) from n";

/// Runs `work` with 1, 2, 3 … polls until it completes `completions` times, checking after each.
async fn at_every_poll<T>(database: &SqlDatabase, work: impl AsyncFn() -> Result<T>, check: impl AsyncFn()) {
    let mut completed = 0;
    for polls in 1..200 {
        if let Some(result) = drop_after(work(), polls).await {
            result.expect("it succeeds when it is not dropped");
            completed += 1;
        }
        eventually_idle(database).await;
        check().await;
        if completed == 3 {
            return;
        }
    }
    panic!("it never completed");
}

async fn pairs() -> SqlDatabase {
    let database = memory().await;
    database
        .execute("create table pair (id integer primary key, half bigint)".into())
        .await
        .expect("created");
    database
}

async fn count(database: &SqlDatabase) -> i64 {
    database
        .query_one("select count(*) from pair".into())
        .await
        .expect("counted")
}

#[tokio::test]
async fn statements() {
    let database = pairs().await;
    let writable = async || {
        database
            .execute("insert into pair (half) values (0)".into())
            .await
            .expect("the write lock is free");
    };
    at_every_poll(
        &database,
        async || {
            database
                .execute("insert into pair (half) values (1)".into())
                .await
        },
        &writable,
    )
    .await;
    at_every_poll(
        &database,
        async || database.fetch_all("select * from pair".into()).await,
        &writable,
    )
    .await;
    at_every_poll(
        &database,
        async || {
            database
                .fetch_optional("insert into pair (half) values (2) returning id".into())
                .await
        },
        &writable,
    )
    .await;
    at_every_poll(&database, async || database.health().await, &writable).await;
    at_every_poll(
        &database,
        async || {
            let rows = database
                .fetch("select a.id, b.half from pair a, pair b limit 500".into())
                .await?;
            rows.try_collect::<Vec<_>>().await
        },
        &writable,
    )
    .await;
}

#[tokio::test]
async fn transactions_are_whole_or_absent() {
    let database = pairs().await;
    let even = async || assert_eq!(count(&database).await % 2, 0, "half a transaction");
    at_every_poll(
        &database,
        async || {
            let mut tx = database.begin(TransactionOptions::new()).await?;
            tx.execute("insert into pair (half) values (1)".into()).await?;
            tx.savepoint("middle").await?;
            tx.execute("insert into pair (half) values (2)".into()).await?;
            tx.commit().await
        },
        even,
    )
    .await;
    at_every_poll(
        &database,
        async || {
            let mut tx = database.begin(TransactionOptions::new()).await?;
            tx.execute("insert into pair (half) values (3)".into()).await?;
            tx.rollback().await
        },
        even,
    )
    .await;
    at_every_poll(
        &database,
        async || {
            let mut tx = database.begin(TransactionOptions::new().read_only()).await?;
            tx.fetch_all("select * from pair".into()).await?;
            tx.commit().await
        },
        async || {
            let two = BatchInsert::new("pair", ["half"]).with_rows([vec![4.into()], vec![5.into()]]);
            database
                .insert_many(two)
                .await
                .expect("no connection stayed read-only");
        },
    )
    .await;
    assert!(count(&database).await >= 6);
}

#[tokio::test]
async fn batches_and_scattered_reads() {
    let config = SqlConfig::development("sqlite::memory:")
        .with_connections(4, 0)
        .with_sharding(ShardingConfig::new("half", 4).with_table("pair", TableSharding::default()));
    let database = SqlDatabase::connect(config).await.expect("opened");
    for shard in 0..4 {
        let text = format!("create table pair_{shard:02} (half bigint)");
        database.execute(Statement::new(text)).await.expect("created");
    }
    let all = || Scatter::new(Statement::new("select half from pair")).order_by("half");
    at_every_poll(
        &database,
        async || {
            let rows = (0..8).map(|half| vec![half.into()]);
            database
                .insert_many(BatchInsert::new("pair", ["half"]).with_rows(rows))
                .await
        },
        async || {
            let rows = database.scatter(all()).await.expect("read");
            assert_eq!(rows.len() % 8, 0, "half a batch");
        },
    )
    .await;
    at_every_poll(&database, async || database.scatter(all()).await, async || {}).await;
}

#[tokio::test]
async fn a_dropped_statement_is_stopped_in_the_engine() {
    let config = SqlConfig::development("sqlite::memory:").with_connections(1, 1);
    let database = SqlDatabase::connect(config).await.expect("opened");
    let mut stream = database.fetch(ENDLESS.into()).await.expect("begun");
    for _ in 0..3 {
        let dropped =
            tokio::time::timeout(Duration::from_millis(5), database.fetch_all(ENDLESS.into())).await;
        assert!(dropped.is_err());
    }
    assert!(
        tokio::time::timeout(Duration::from_millis(20), stream.try_next())
            .await
            .is_err()
    );
    drop(stream);
    // The only connection comes back long before the statement would have ended, which it never would.
    let one: i64 = tokio::time::timeout(Duration::from_secs(5), database.query_one("select 1".into()))
        .await
        .expect("in time")
        .expect("read");
    assert_eq!(one, 1);
    eventually_idle(&database).await;
}

#[tokio::test]
async fn a_waiter_that_gives_up_leaves_its_place() {
    let database = pairs().await;
    let holder = database.begin(TransactionOptions::new()).await.expect("begun");
    for polls in 1..20 {
        let waiting = database.execute("insert into pair (half) values (1)".into());
        let dropped = tokio::time::timeout(Duration::from_millis(5), drop_after(waiting, polls)).await;
        assert!(!matches!(dropped, Ok(Some(_))), "the lock is held");
    }
    holder.commit().await.expect("committed");
    database
        .execute("insert into pair (half) values (1)".into())
        .await
        .expect("nobody dead stands in the queue");
    eventually_idle(&database).await;
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn shutdown_waits_for_what_is_at_work_and_says_when_it_does_not_end() {
    let database = pairs().await;
    let tx = database.begin(TransactionOptions::new()).await.expect("begun");
    let error = database
        .shutdown(Duration::from_millis(30))
        .await
        .expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("1 connection"), "{error}");
    let refused = database.execute("select 1".into()).await.expect_err("closed");
    assert_eq!(refused.kind(), ErrorKind::Closed);
    tx.commit().await.expect("what was accepted is finished");
    database.shutdown(Duration::from_secs(5)).await.expect("closed");
}

#[test]
fn a_transaction_may_outlive_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (database, tx) = runtime.block_on(async {
        let database = pairs().await;
        let mut tx = database.begin(TransactionOptions::new()).await.expect("begun");
        tx.execute("insert into pair (half) values (1)".into())
            .await
            .expect("inserted");
        (database, tx)
    });
    drop(runtime);
    drop(tx);
    drop(database);
}
