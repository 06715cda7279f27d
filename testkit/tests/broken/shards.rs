//! Sharded databases that are broken on purpose: SQLite with one defect.

use std::sync::Arc;

use infra_core::database::{
    BatchInsert, Database, Executed, MigrationReport, Migrations, PoolStatus, Row, RowStream, Scatter,
    ShardingConfig, Statement, TableSharding, Transaction, TransactionOptions, Value,
};
use infra_core::{Error, ErrorKind, Result, async_trait};
use infra_sql::{SqlConfig, SqlDatabase};
use infra_testkit::conformance::{self, Breakage, Fixture, Setup, prove};

use crate::support::backend_of_inner;

pub(crate) const FAMILY: &str = "shards";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::shards::SCENARIOS,
        &[
            broken(
                "SHARD-001",
                SkipsMinimum,
                "loses rows whose key is the smallest number",
            ),
            broken(
                "SHARD-002",
                ReadsTwoShards,
                "reads the neighbouring shard where the key's own is empty",
            ),
            broken(
                "SHARD-003",
                ReadsWithoutKey,
                "reads one shard where the key is missing",
            ),
            broken(
                "SHARD-004",
                ForgetsTableShards,
                "takes the number of shards from the default",
            ),
            broken(
                "SHARD-005",
                CrossesDatabases,
                "lets a transaction write to another database",
            ),
            broken(
                "SHARD-006",
                ShardsEverything,
                "asks for a shard key on every table",
            ),
            broken(
                "SHARD-007",
                BatchesToOneShard,
                "sends a batch whole to the shard of its first row",
            ),
            broken(
                "SHARD-008",
                BatchesWithoutKey,
                "inserts rows of a batch without a key into the first shard",
            ),
            broken(
                "SHARD-009",
                MergesByAppending,
                "appends what the shards give where the smallest is asked for first",
            ),
            broken(
                "SHARD-010",
                LimitsEachShard,
                "limits each shard and not the whole",
            ),
            broken("SHARD-011", ScattersWrites, "spreads a write over all shards"),
            broken(
                "SHARD-012",
                ScattersOnlyShards,
                "refuses to scatter over a table that is not sharded",
            ),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    SkipsMinimum,
    ReadsTwoShards,
    ReadsWithoutKey,
    ForgetsTableShards,
    CrossesDatabases,
    ShardsEverything,
    BatchesToOneShard,
    BatchesWithoutKey,
    MergesByAppending,
    LimitsEachShard,
    ScattersWrites,
    ScattersOnlyShards,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Database> {
    Breakage::new(breaks, words, move |setup: Setup| async move {
        let folder =
            tempfile::tempdir().map_err(|error| Error::invalid_config("no folder").with_source(error))?;
        let url = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
        let sharding = match defect {
            Defect::ForgetsTableShards => forgetful(&setup),
            _ => conformance::shards::sharding(&setup),
        };
        let config = SqlConfig::development(url("0.db"))
            .with_additional_url(url("1.db"))
            .with_connections(8, 1)
            .with_sharding(sharding);
        let fixture = Fixture::server(move || {
            let config = config.clone();
            async move {
                let inner = SqlDatabase::connect(config).await?;
                Ok(Arc::new(Broken { inner, defect }) as Arc<dyn Database>)
            }
        });
        Ok(fixture.on_teardown(|| async move {
            drop(folder);
            Ok(())
        }))
    })
}

/// The archive by its own key, over as many shards as everything else.
fn forgetful(setup: &Setup) -> ShardingConfig {
    ShardingConfig::new("session_id", 8)
        .with_table(format!("{}_messages", setup.namespace), TableSharding::default())
        .with_table(
            format!("{}_archive", setup.namespace),
            TableSharding::default().with_key("owner"),
        )
}

/// SQLite over two files, with one defect.
#[derive(Debug)]
struct Broken {
    inner: SqlDatabase,
    defect: Defect,
}

impl Broken {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }
}

fn names_users(statement: &Statement) -> bool {
    statement.text().contains("_users") && !statement.text().contains("_messages")
}

fn refused(why: &'static str) -> Error {
    Error::invalid_argument(why)
}

backend_of_inner!(Broken);

#[async_trait]
impl Database for Broken {
    async fn execute(&self, statement: Statement) -> Result<Executed> {
        let smallest = Value::from(i64::MIN.to_string());
        if self.is(Defect::SkipsMinimum) && is_bound_to(&statement, &smallest) {
            return Ok(Executed::new(1));
        }
        if self.is(Defect::ShardsEverything) && names_users(&statement) {
            return Err(refused("no shard key"));
        }
        self.inner.execute(statement).await
    }

    async fn fetch_all(&self, statement: Statement) -> Result<Vec<Row>> {
        let key = statement.explicit_shard_key().map(|key| key.shard(8));
        match self.inner.fetch_all(statement.clone()).await {
            Ok(rows) if self.is(Defect::ReadsTwoShards) && rows.is_empty() => match key {
                Some(shard) => {
                    self.inner
                        .fetch_all(statement.shard_key(i64::from(shard) + 1))
                        .await
                }
                None => Ok(rows),
            },
            Err(error) if self.is(Defect::ReadsWithoutKey) && error.kind() == ErrorKind::InvalidArgument => {
                self.inner.fetch_all(statement.shard_key(0)).await
            }
            answer => answer,
        }
    }

    async fn fetch_optional(&self, statement: Statement) -> Result<Option<Row>> {
        self.inner.fetch_optional(statement).await
    }

    async fn fetch(&self, statement: Statement) -> Result<RowStream> {
        self.inner.fetch(statement).await
    }

    async fn insert_many(&self, mut batch: BatchInsert) -> Result<Executed> {
        let key = batch.columns.iter().position(|column| column == "session_id");
        match (self.defect, key) {
            (Defect::BatchesToOneShard, Some(key)) => {
                let first = batch.rows.first().map(|row| row[key].clone());
                let rows = batch.rows.len() as u64;
                if let Some(first) = first {
                    batch.rows.iter_mut().for_each(|row| row[key] = first.clone());
                }
                self.inner.insert_many(batch).await.map(|_| Executed::new(rows))
            }
            (Defect::BatchesWithoutKey, None) => {
                batch.columns.push("session_id".into());
                batch.rows.iter_mut().for_each(|row| row.push("0".into()));
                self.inner.insert_many(batch).await
            }
            _ => self.inner.insert_many(batch).await,
        }
    }

    async fn scatter(&self, mut scatter: Scatter) -> Result<Vec<Row>> {
        if self.is(Defect::ScattersOnlyShards) && names_users(&scatter.statement) {
            return Err(refused("not sharded"));
        }
        if self.is(Defect::MergesByAppending)
            && scatter.order.iter().any(|(_, descending)| !descending)
            && !names_users(&scatter.statement)
        {
            scatter.order.clear();
        }
        if self.is(Defect::LimitsEachShard) {
            scatter.limit = None;
        }
        if self.is(Defect::ScattersWrites) && scatter.statement.text().starts_with("delete") {
            for shard in 0..8 {
                self.inner
                    .execute(scatter.statement.clone().shard_key(shard))
                    .await?;
            }
            return Ok(Vec::new());
        }
        self.inner.scatter(scatter).await
    }

    async fn begin(&self, options: TransactionOptions) -> Result<Box<dyn Transaction>> {
        let inner = self.inner.begin(options).await?;
        if self.is(Defect::CrossesDatabases) {
            return Ok(Box::new(Crossing { inner }));
        }
        Ok(inner)
    }

    async fn migrate(&self, migrations: Migrations) -> Result<MigrationReport> {
        self.inner.migrate(migrations).await
    }

    fn pool_status(&self) -> PoolStatus {
        self.inner.pool_status()
    }
}

fn is_bound_to(statement: &Statement, wanted: &Value) -> bool {
    match statement.parameters() {
        infra_core::database::Parameters::Named(named) => {
            named.values().flatten().any(|value| value == wanted)
        }
        _ => false,
    }
}

/// A transaction that takes statements for another database and says that it ran them.
#[derive(Debug)]
struct Crossing {
    inner: Box<dyn Transaction>,
}

#[async_trait]
impl Transaction for Crossing {
    async fn execute(&mut self, statement: Statement) -> Result<Executed> {
        match self.inner.execute(statement).await {
            Err(error) if error.kind() == ErrorKind::InvalidArgument => Ok(Executed::new(1)),
            answer => answer,
        }
    }

    async fn fetch_all(&mut self, statement: Statement) -> Result<Vec<Row>> {
        self.inner.fetch_all(statement).await
    }

    async fn fetch_optional(&mut self, statement: Statement) -> Result<Option<Row>> {
        self.inner.fetch_optional(statement).await
    }

    async fn insert_many(&mut self, batch: BatchInsert) -> Result<Executed> {
        self.inner.insert_many(batch).await
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        self.inner.savepoint(name).await
    }

    async fn release_savepoint(&mut self, name: &str) -> Result<()> {
        self.inner.release_savepoint(name).await
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        self.inner.rollback_to(name).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.inner.commit().await
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.inner.rollback().await
    }
}
