//! Sharded tables and scattered reads on a real SQLite.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use infra_core::ErrorKind;
use infra_core::database::{
    BatchInsert, Database, DatabaseExt, Migration, Migrations, Scatter, ShardKey, ShardingConfig, Statement,
    TableSharding, TransactionOptions,
};
use infra_sql::{SqlConfig, SqlDatabase};

use support::url;

fn sharding() -> ShardingConfig {
    ShardingConfig::new("session_id", 16)
        .with_table("messages", TableSharding::default())
        .with_table("members", TableSharding::default())
}

fn history() -> Migrations {
    Migrations::new([
        Migration::new(
            1,
            "create messages",
            "create table messages (id bigint primary key, session_id text not null, content text not null);
             create index messages_by_session{shard} on messages (session_id, id)",
        )
        .with_down("drop table messages"),
        Migration::new(
            2,
            "create members",
            "create table members (session_id text not null, user bigint not null)",
        )
        .with_down("drop table members"),
        Migration::new(
            3,
            "create users",
            "create table users (id bigint primary key, name text)",
        )
        .with_down("drop table users"),
    ])
    .expect("a valid history")
}

async fn open(databases: usize) -> (tempfile::TempDir, SqlDatabase) {
    let folder = tempfile::tempdir().expect("folder");
    let mut config = SqlConfig::development(url(&folder, "0.db")).with_connections(10, 1);
    for database in 1..databases {
        config = config.with_additional_url(url(&folder, &format!("{database}.db")));
    }
    let database = SqlDatabase::connect(config.with_sharding(sharding()))
        .await
        .expect("opened");
    let report = database.migrate(history()).await.expect("migrated");
    assert_eq!(report.applied, [1, 2, 3]);
    (folder, database)
}

fn insert(id: i64, session: &str) -> Statement {
    Statement::new("insert into messages (id, session_id, content) values (:id, :session_id, :content)")
        .bind("id", id)
        .bind("session_id", session)
        .bind("content", format!("messages of {session}"))
}

#[tokio::test]
async fn rows_land_on_the_shard_that_the_routing_says() {
    for databases in [1, 3] {
        let (_folder, database) = open(databases).await;
        for id in 0..200_i64 {
            let session = if id % 3 == 0 {
                id.to_string()
            } else {
                format!("会话-{id}")
            };
            database.execute(insert(id, &session)).await.expect("inserted");
        }
        let mut found = 0;
        for shard in 0..16_u32 {
            let pool = database.pools().nth(shard as usize % databases).expect("a pool");
            let text = format!("select session_id from messages_{shard:02}");
            let sessions: Vec<(String,)> = infra_sql::sqlx::query_as(infra_sql::sqlx::AssertSqlSafe(text))
                .fetch_all(pool)
                .await
                .expect("the table is there");
            found += sessions.len();
            for (session,) in sessions {
                assert_eq!(ShardKey::from(session.as_str()).shard(16), shard, "{session}");
            }
        }
        assert_eq!(found, 200);

        let newest = Scatter::new(Statement::new(
            "select id, session_id from messages order by id desc limit 10",
        ))
        .order_by_descending("id")
        .limit(10);
        let rows = database.scatter(newest).await.expect("read");
        let ids: Vec<i64> = rows
            .into_iter()
            .map(|row| row.decode::<(i64, String)>().expect("two").0)
            .collect();
        assert_eq!(ids, (190..200).rev().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_statement_without_its_shard_key_is_refused_before_any_io() {
    let (_folder, database) = open(1).await;
    for (statement, part) in [
        (Statement::new("select * from messages"), ":session_id"),
        (
            Statement::new("delete from messages where id = :id").bind("id", 1),
            "Database::scatter",
        ),
        (
            Statement::new("insert into messages values (?, ?, ?)")
                .bind_next(1)
                .bind_next("s")
                .bind_next("x"),
            "Statement::shard_key",
        ),
    ] {
        let error = database.execute(statement).await.expect_err(part);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(part) && error.had_no_effect(), "{error}");
    }
    let explicit = Statement::new("insert into messages values (?, ?, ?)")
        .bind_next(1)
        .bind_next("s")
        .bind_next("x");
    database.execute(explicit.shard_key("s")).await.expect("routed");
    let count: i64 = database
        .query_one(
            Statement::new("select count(*) from messages join members using (session_id) where session_id = :session_id")
                .bind("session_id", "s"),
        )
        .await
        .expect("two tables on one shard");
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_transaction_spans_one_database() {
    let (_folder, database) = open(2).await;
    let mut tx = database
        .begin(TransactionOptions::new().on_shard("messages", 1))
        .await
        .expect("begun");
    tx.execute(insert(1, "1")).await.expect("the same database");
    tx.execute(insert(3, "3"))
        .await
        .expect("another shard of the same database");
    let refused = tx.execute(insert(2, "2")).await.expect_err("another database");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(refused.had_no_effect());
    assert!(
        tx.execute("insert into users values (1, 'a')".into())
            .await
            .is_err()
    );
    tx.commit().await.expect("committed");
    let all = Scatter::new(Statement::new("select id from messages")).order_by("id");
    assert_eq!(database.scatter(all).await.expect("read").len(), 2);
    let error = database
        .begin(TransactionOptions::new().on_shard("users", 1))
        .await
        .expect_err("not sharded");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn scatter_refuses_what_it_cannot_merge_and_works_without_sharding() {
    let (_folder, database) = open(1).await;
    for scatter in [
        Scatter::new(Statement::new("delete from messages")),
        Scatter::new(Statement::new("with x as (select 1) delete from messages")),
        Scatter::new(Statement::new("select * from messages, members")),
        Scatter::new(Statement::new("select id from messages")).order_by("content"),
    ] {
        let error = database.scatter(scatter).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    let plain = support::memory().await;
    plain
        .execute("create table messages (id bigint)".into())
        .await
        .expect("created");
    plain
        .execute("insert into messages values (1), (3), (2)".into())
        .await
        .expect("filled");
    let rows = plain
        .scatter(
            Scatter::new(Statement::new("select id from messages"))
                .order_by_descending("id")
                .limit(2),
        )
        .await
        .expect("read");
    let ids: Vec<i64> = rows.into_iter().map(|row| row.decode().expect("one")).collect();
    assert_eq!(ids, [3, 2]);
}

#[tokio::test]
async fn a_batch_is_spread_over_its_shards_all_or_nothing() {
    let (_folder, database) = open(1).await;
    let batch = |range: std::ops::Range<i64>| {
        BatchInsert::new("messages", ["id", "session_id", "content"])
            .with_rows(range.map(|id| vec![id.into(), format!("s-{}", id % 100).into(), "hello".into()]))
    };
    let done = database.insert_many(batch(0..10_000)).await.expect("inserted");
    assert_eq!(done.rows_affected, 10_000);
    let refused = database
        .insert_many(batch(9_999..12_000))
        .await
        .expect_err("one exists");
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    let done = database
        .insert_many(batch(9_990..10_010).skip_existing())
        .await
        .expect("inserted");
    assert_eq!(done.rows_affected, 10);
    let counted = Scatter::new(Statement::new("select count(*) as n from messages"));
    let counts = database.scatter(counted).await.expect("counted");
    let sum: i64 = counts
        .into_iter()
        .map(|row| row.decode::<i64>().expect("a number"))
        .sum();
    assert_eq!(sum, 10_010);

    let (_folder, database) = open(2).await;
    let mut tx = database
        .begin(TransactionOptions::new().on_shard("messages", 2))
        .await
        .expect("begun");
    let even = BatchInsert::new("messages", ["id", "session_id", "content"])
        .with_row([1.into(), "2".into(), "a".into()])
        .with_row([2.into(), "4".into(), "b".into()]);
    assert_eq!(
        tx.insert_many(even.clone())
            .await
            .expect("inserted")
            .rows_affected,
        2
    );
    let odd = even.with_row([3.into(), "5".into(), "c".into()]);
    assert_eq!(
        tx.insert_many(odd).await.expect_err("another database").kind(),
        ErrorKind::InvalidArgument
    );
    tx.commit().await.expect("committed");
}
