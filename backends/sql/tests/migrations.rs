//! Migrations on a real SQLite: order, history, concurrent starters, crashes.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::time::Duration;

use infra_core::database::{Database, DatabaseExt, Migration, Migrations, ShardingConfig, TableSharding};
use infra_core::{Backend as _, ErrorKind};
use infra_sql::{SqlConfig, SqlDatabase};

use support::{memory, url};

fn history(steps: &[(u64, &'static str)]) -> Migrations {
    Migrations::new(
        steps
            .iter()
            .map(|(version, up)| Migration::new(*version, format!("step {version}"), *up)),
    )
    .expect("a valid history")
}

#[tokio::test]
async fn applies_in_order_once_and_keeps_what_worked() {
    let database = memory().await;
    let first = "create table t (id bigint); insert into t values (1); create trigger tr after insert on t begin update t set id = id; end; insert into t values (2)";
    assert_eq!(
        database.pending(&history(&[(1, first)])).await.expect("asked"),
        [1]
    );
    let report = database.migrate(history(&[(1, first)])).await.expect("applied");
    assert_eq!((report.applied, report.already_applied), (vec![1], 0));

    let broken = "insert into t values (3); insert into missing values (1)";
    let error = database
        .migrate(history(&[
            (1, first),
            (2, "insert into t values (4)"),
            (3, broken),
        ]))
        .await
        .expect_err("broken");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("migration 3 \"step 3\""), "{error}");
    let ids: Vec<i64> = database
        .query_as("select id from t order by id".into())
        .await
        .expect("read");
    assert_eq!(ids, [1, 2, 4], "the failing step left nothing behind");

    let repaired = [
        (1, first),
        (2, "insert into t values (4)"),
        (3, "insert into t values (3)"),
    ];
    let report = database.migrate(history(&repaired)).await.expect("applied");
    assert_eq!((report.applied, report.already_applied), (vec![3], 2));
    assert!(
        database
            .pending(&history(&repaired))
            .await
            .expect("asked")
            .is_empty()
    );
}

#[tokio::test]
async fn detects_a_history_that_was_rewritten() {
    let database = memory().await;
    database
        .migrate(history(&[
            (1, "create table t (id bigint)"),
            (2, "create table u (id bigint)"),
        ]))
        .await
        .expect("applied");
    for (steps, part) in [
        (
            vec![(1, "create table t (id text)"), (2, "create table u (id bigint)")],
            "migration 1 was changed",
        ),
        (
            vec![(1, "create table t (id bigint)")],
            "migration 2 was applied and is missing",
        ),
    ] {
        let error = database.migrate(history(&steps)).await.expect_err(part);
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test]
async fn refuses_doubtful_steps_before_any_io() {
    let config = SqlConfig::development("sqlite::memory:")
        .with_sharding(ShardingConfig::new("id", 2).with_table("t", TableSharding::default()));
    let database = SqlDatabase::connect(config).await.expect("opened");
    for (up, part) in [
        ("create table t (id bigint references users (id))", "others too"),
        ("create index i{shard} on users (id)", "names no sharded table"),
        ("insert into users values (?)", "parameter"),
        (
            "create table users (id bigint); commit; drop table users",
            "transaction",
        ),
        ("begin; create table users (id bigint)", "transaction"),
        ("create table 'open", "never ends"),
    ] {
        let error = database.migrate(history(&[(1, up)])).await.expect_err(part);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(
            error.message().contains(part) && error.message().contains("migration 1"),
            "{error}"
        );
    }
    assert_eq!(
        database.pending(&history(&[])).await.expect("asked"),
        Vec::<u64>::new()
    );
}

#[tokio::test]
async fn a_change_of_the_number_of_shards_or_databases_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let open = async |shards: u32, databases: usize| {
        let mut config = SqlConfig::development(url(&folder, "0.db"))
            .with_sharding(ShardingConfig::new("id", shards).with_table("t", TableSharding::default()));
        for database in 1..databases {
            config = config.with_additional_url(url(&folder, &format!("{database}.db")));
        }
        SqlDatabase::connect(config).await.expect("opened")
    };
    let steps = || history(&[(1, "create table t (id bigint)")]);
    open(4, 1).await.migrate(steps()).await.expect("applied");
    for (shards, databases, part) in [(8, 1, "4 shards"), (4, 2, "number of the URLs")] {
        let error = open(shards, databases)
            .await
            .migrate(steps())
            .await
            .expect_err(part);
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test]
async fn goes_on_where_a_crash_stopped_it() {
    let folder = tempfile::tempdir().expect("folder");
    let config = || {
        SqlConfig::development(url(&folder, "app.db"))
            .with_sharding(ShardingConfig::new("id", 8).with_table("t", TableSharding::default()))
    };
    let steps = || {
        history(&[
            (1, "create table t (id bigint)"),
            (2, "alter table t add column name text"),
        ])
    };
    // The step fails on shard 5 the first time, as a crash would end it there.
    let database = SqlDatabase::connect(config()).await.expect("opened");
    database
        .execute("create table t_05 (id bigint)".into())
        .await
        .expect("in the way");
    let error = database.migrate(steps()).await.expect_err("in the way");
    assert!(error.message().contains("on shard 5"), "{error}");
    database.shutdown(Duration::from_secs(5)).await.expect("closed");

    let database = SqlDatabase::connect(config()).await.expect("opened again");
    database
        .execute("drop table t_05".into())
        .await
        .expect("out of the way");
    assert_eq!(database.pending(&steps()).await.expect("asked"), [1, 2]);
    let report = database.migrate(steps()).await.expect("applied");
    assert_eq!(report.applied, [1, 2]);
    let noted: i64 = database
        .query_one("select count(*) from _infra_migrations".into())
        .await
        .expect("counted");
    assert_eq!(noted, 16, "each step once for each shard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_starter_works_and_the_others_wait() {
    let folder = tempfile::tempdir().expect("folder");
    let starters: Vec<_> = (0..6)
        .map(|_| {
            let config = SqlConfig::development(url(&folder, "app.db"))
                .with_connections(3, 1)
                .with_sharding(ShardingConfig::new("id", 4).with_table("t", TableSharding::default()));
            tokio::spawn(async move {
                let database = SqlDatabase::connect(config).await.expect("opened");
                let steps = history(&[
                    (1, "create table t (id bigint)"),
                    (2, "create table u (id bigint)"),
                ]);
                database.migrate(steps).await.expect("migrated").applied.len()
            })
        })
        .collect();
    let mut applied = Vec::new();
    for starter in starters {
        applied.push(starter.await.expect("no panic"));
    }
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, 0, 0, 0, 2]);
}

#[tokio::test]
async fn a_starter_that_died_holds_the_lock_until_it_expires() {
    let config = SqlConfig::development("sqlite::memory:").with_migration_wait(Duration::from_millis(120));
    let database = SqlDatabase::connect(config).await.expect("opened");
    database.migrate(history(&[])).await.expect("nothing to do");
    let lock = |expiry: &str| {
        format!(
            "insert or replace into _infra_migration_lock values (1, 'somebody', unixepoch('now', '{expiry}') * 1000)"
        )
    };
    database
        .execute(infra_core::database::Statement::new(lock("+50 seconds")))
        .await
        .expect("locked");
    let error = database.migrate(history(&[])).await.expect_err("locked");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    database
        .execute(infra_core::database::Statement::new(lock("-1 seconds")))
        .await
        .expect("expired");
    database.migrate(history(&[])).await.expect("taken over");
}

#[tokio::test]
async fn a_dropped_migration_gives_the_lock_back() {
    for polls in 1..60 {
        let database = memory().await;
        let work = database.migrate(history(&[(1, "create table t (id bigint)")]));
        support::drop_after(work, polls).await;
        tokio::time::timeout(
            Duration::from_secs(10),
            database.migrate(history(&[(1, "create table t (id bigint)")])),
        )
        .await
        .expect("the lock is free")
        .expect("applied");
    }
}

#[tokio::test]
async fn undoes_the_last_step_on_every_shard() {
    let config = SqlConfig::development("sqlite::memory:")
        .with_sharding(ShardingConfig::new("id", 3).with_table("t", TableSharding::default()));
    let database = SqlDatabase::connect(config).await.expect("opened");
    let steps = Migrations::new([
        Migration::new(1, "users", "create table users (id bigint)"),
        Migration::new(2, "t", "create table t (id bigint)").with_down("drop table t"),
    ])
    .expect("valid");
    database.migrate(steps.clone()).await.expect("applied");
    assert_eq!(database.rollback_last(&steps).await.expect("undone"), Some(2));
    assert_eq!(database.pending(&steps).await.expect("asked"), [2]);
    let error = database.rollback_last(&steps).await.expect_err("no way back");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let report = database.migrate(steps).await.expect("applied again");
    assert_eq!((report.applied, report.already_applied), (vec![2], 1));
}
