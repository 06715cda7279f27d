//! Disks that are full and files that are damaged.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use infra_core::database::{Database, DatabaseExt, Statement, TransactionOptions};
use infra_core::{Backend as _, ErrorKind};
use infra_sql::{SqlConfig, SqlDatabase};

use support::{eventually_idle, file, url};

#[tokio::test]
async fn a_full_database_is_resource_exhausted_and_the_transaction_only_rolls_back() {
    let folder = tempfile::tempdir().expect("folder");
    let config = SqlConfig::development(url(&folder, "app.db")).with_connections(1, 1);
    let database = SqlDatabase::connect(config).await.expect("opened");
    database
        .execute("create table t (content blob)".into())
        .await
        .expect("created");
    database
        .fetch_all("pragma max_page_count = 20".into())
        .await
        .expect("a small disk");
    let fill = || Statement::new("insert into t values (zeroblob(:size))").bind("size", 100_000);
    let error = database.execute(fill()).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");

    let mut tx = database.begin(TransactionOptions::new()).await.expect("begun");
    tx.execute("insert into t values (x'01')".into())
        .await
        .expect("it fits");
    assert_eq!(
        tx.execute(fill()).await.expect_err("full").kind(),
        ErrorKind::ResourceExhausted
    );
    // SQLite may have undone the transaction: nothing may be committed on its own now.
    assert!(tx.execute("insert into t values (x'02')".into()).await.is_err());
    assert!(tx.commit().await.is_err());
    eventually_idle(&database).await;
    let rows: i64 = database
        .query_one("select count(*) from t".into())
        .await
        .expect("counted");
    assert_eq!(rows, 0);
    database
        .execute("insert into t values (x'03')".into())
        .await
        .expect("the connection works");
}

#[tokio::test]
async fn a_damaged_file_is_data_corrupted() {
    let (folder, database) = file().await;
    database
        .execute("create table t (id bigint, content text)".into())
        .await
        .expect("created");
    for id in 0..200 {
        let insert = Statement::new("insert into t values (:id, hex(randomblob(200)))").bind("id", id);
        database.execute(insert).await.expect("inserted");
    }
    database
        .shutdown(Duration::from_secs(5))
        .await
        .expect("closed, and the log written back");
    let path = folder.path().join("app.db");
    let mut damaged = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("opened");
    damaged.seek(SeekFrom::Start(4096)).expect("moved");
    damaged.write_all(&[0x5a; 40_000]).expect("damaged");
    drop(damaged);
    let database = SqlDatabase::connect(SqlConfig::development(url(&folder, "app.db")))
        .await
        .expect("opened");
    let error = database
        .fetch_all("select * from t".into())
        .await
        .expect_err("damaged");
    assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{error}");
}

#[tokio::test]
async fn a_deferred_violation_fails_the_commit_and_undoes_all() {
    let (_folder, database) = file().await;
    for text in [
        "create table parent (id bigint primary key)",
        "create table child (parent bigint references parent (id) deferrable initially deferred)",
    ] {
        database.execute(text.into()).await.expect(text);
    }
    let mut tx = database.begin(TransactionOptions::new()).await.expect("begun");
    tx.execute("insert into child values (1)".into())
        .await
        .expect("checked later");
    assert_eq!(
        tx.commit().await.expect_err("no parent").kind(),
        ErrorKind::Conflict
    );
    eventually_idle(&database).await;
    let rows: i64 = database
        .query_one("select count(*) from child".into())
        .await
        .expect("counted");
    assert_eq!(rows, 0);
    database
        .execute("insert into parent values (1)".into())
        .await
        .expect("the write lock is free");
}

#[tokio::test]
async fn a_changed_table_is_read_with_its_new_columns() {
    let (_folder, database) = file().await;
    database
        .execute("create table t (a bigint)".into())
        .await
        .expect("created");
    database
        .execute("insert into t values (1)".into())
        .await
        .expect("inserted");
    let read = || Statement::new("select * from t");
    assert_eq!(
        database.fetch_all(read()).await.expect("read")[0].columns(),
        ["a"]
    );
    database
        .execute("alter table t add column b uuid default '00000000-0000-0000-0000-000000000007'".into())
        .await
        .expect("altered");
    let rows = database.fetch_all(read()).await.expect("read");
    assert_eq!(rows[0].columns(), ["a", "b"]);
    for round in 0..20 {
        let mut tx = database.begin(TransactionOptions::new()).await.expect("begun");
        tx.fetch_all(read()).await.expect("read");
        let alter = Statement::new(format!("alter table t add column c{round} bigint"));
        tx.execute(alter).await.expect("altered");
        assert_eq!(
            tx.fetch_all(read()).await.expect("read")[0].columns().len(),
            3 + round
        );
        tx.commit().await.expect("committed");
        assert_eq!(
            database.fetch_all(read()).await.expect("read")[0].columns().len(),
            3 + round
        );
    }
    let read = || Statement::new("select a, b from t");
    let (_, id): (i64, uuid::Uuid) = database.query_one(read()).await.expect("decoded");
    assert_eq!(id, uuid::Uuid::from_u128(7));
}
