//! What the contract costs beside bare sqlx on the same kind of pool, in one run: `cargo bench -p infra-sql`.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a program for people to read"
)]

use std::time::{Duration, Instant};

use infra_core::database::{BatchInsert, Database, DatabaseExt, ShardingConfig, Statement, TableSharding};
use infra_sql::sqlx::{self, Row as _};
use infra_sql::{SqlConfig, SqlDatabase};

const ROUNDS: usize = 20;
const CALLS: u32 = 500;

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("folder");
    let url = format!("sqlite://{}", folder.path().join("bench.db").display());
    let sharding = ShardingConfig::new("id", 16).with_table("sharded", TableSharding::default());
    let database = SqlDatabase::connect(SqlConfig::development(&url).with_sharding(sharding))
        .await
        .expect("opened");
    let bare = sqlx::sqlite::SqlitePoolOptions::new()
        .max_connections(25)
        .connect(&url)
        .await
        .expect("opened");
    database
        .execute("create table t (id bigint primary key, name text)".into())
        .await
        .expect("created");
    for shard in 0..16 {
        let text = format!("create table sharded_{shard:02} (id bigint primary key, name text)");
        database.execute(Statement::new(text)).await.expect("created");
    }
    let rows = |table: &'static str| {
        BatchInsert::new(table, ["id", "name"])
            .with_rows((0..10_000).map(|id| vec![i64::from(id).into(), format!("name {id}").into()]))
    };
    database.insert_many(rows("t")).await.expect("filled");
    database.insert_many(rows("sharded")).await.expect("filled");

    let read_bare = async |id: i64| {
        let row = sqlx::query("select id, name from t where id = ?")
            .bind(id)
            .fetch_one(&bare)
            .await
            .expect("read");
        std::hint::black_box((row.get::<i64, _>(0), row.get::<String, _>(1)));
    };
    let read = async |id: i64| {
        let read = Statement::new("select id, name from t where id = :id").bind("id", id);
        std::hint::black_box(database.query_one::<(i64, String)>(read).await.expect("read"));
    };
    let read_sharded = async |id: i64| {
        let read = Statement::new("select id, name from sharded where id = :id").bind("id", id);
        std::hint::black_box(database.query_one::<(i64, String)>(read).await.expect("read"));
    };
    let write_bare = async |id: i64| {
        sqlx::query("update t set name = ? where id = ?")
            .bind("x")
            .bind(id)
            .execute(&bare)
            .await
            .expect("written");
    };
    let write = async |id: i64| {
        let update = Statement::new("update t set name = :name where id = :id")
            .bind("name", "x")
            .bind("id", id);
        database.execute(update).await.expect("written");
    };
    compare("point read", &read, &read_bare).await;
    compare("point read, sharded", &read_sharded, &read_bare).await;
    compare("update", &write, &write_bare).await;
}

/// Prints the best round of each; the rounds alternate, so that a busy machine slows both.
async fn compare(what: &str, ours: &impl AsyncFn(i64), bare: &impl AsyncFn(i64)) {
    let (mut best_ours, mut best_bare) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_bare = best_bare.min(round(bare).await);
        best_ours = best_ours.min(round(ours).await);
    }
    println!(
        "{what:<22} {best_ours:>9.1?}   bare sqlx {best_bare:>9.1?}   ratio {:.2}",
        best_ours.as_secs_f64() / best_bare.as_secs_f64()
    );
}

/// The time of one call.
async fn round(call: &impl AsyncFn(i64)) -> Duration {
    let begun = Instant::now();
    for id in 0..CALLS {
        call(i64::from(id) * 7 % 10_000).await;
    }
    begun.elapsed() / CALLS
}
