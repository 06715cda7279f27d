//! SQLite and tantivy, which have threads and so the real clock.

use std::sync::Arc;

use infra_core::database::{Database, ShardingConfig, Statement, TableSharding};
use infra_core::search::Search;
use infra_sql::{SqlConfig, SqlDatabase};
use infra_tantivy::{TantivyConfig, TantivySearch};
use infra_testkit::cancellation::{database, search};
use infra_testkit::conformance::TimeControl;

use crate::play;

const SHARDS: u32 = 4;

/// A database in memory, with a sharded table `wide`.
async fn sqlite() -> infra_core::Result<Arc<dyn Database>> {
    let sharding = ShardingConfig::new("n", SHARDS).with_table("wide", TableSharding::default());
    let config = SqlConfig::development("sqlite::memory:")
        .with_connections(4, 4)
        .with_sharding(sharding);
    let sqlite = SqlDatabase::connect(config).await?;
    on_every_shard(&sqlite, |table| format!("create table {table} (n bigint)")).await?;
    Ok(Arc::new(sqlite))
}

async fn on_every_shard(database: &dyn Database, text: impl Fn(String) -> String) -> infra_core::Result<()> {
    for shard in 0..SHARDS {
        let table = format!("wide{}", ShardingConfig::suffix(shard, SHARDS));
        database.execute(Statement::new(text(table))).await?;
    }
    Ok(())
}

#[tokio::test]
async fn databases() {
    let shared = sqlite().await.expect("opened");
    let make = async |route| database::DatabaseGround::new(shared.clone(), route, None).await;
    play(&database::cases(), TimeControl::Real, make).await;
}

#[tokio::test]
async fn shards() {
    let shared = sqlite().await.expect("opened");
    let make = async |route| {
        on_every_shard(&*shared, |table| format!("delete from {table}")).await?;
        database::DatabaseGround::new(shared.clone(), route, Some("wide".to_owned())).await
    };
    play(&database::sharding(), TimeControl::Real, make).await;
}

#[tokio::test]
async fn migrations() {
    let make = async |route| database::DatabaseGround::new(sqlite().await?, route, None).await;
    play(&database::migrations(), TimeControl::Real, make).await;
}

#[tokio::test]
async fn searches() {
    let tantivy = TantivySearch::open(TantivyConfig::development().in_memory())
        .await
        .expect("opened");
    let tantivy: Arc<dyn Search> = Arc::new(tantivy);
    let make = async |route| search::SearchGround::new(tantivy.clone(), route).await;
    play(&search::cases(), TimeControl::Real, make).await;
}
