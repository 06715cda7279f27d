//! SQLite against the model of transactions, and databases that do one thing wrong.

use std::sync::Arc;
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::database::{
    BatchInsert, Database, Executed, MigrationReport, Migrations, PoolStatus, Row, RowStream, Scatter,
    Statement, Transaction, TransactionOptions,
};
use infra_core::{Backend, Result, async_trait};
use infra_sql::{SqlConfig, SqlDatabase};
use infra_testkit::models::{self, ModelOptions};

use crate::caught::check_caught;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twist {
    Nothing,
    CommitsInsteadOfRollingBack,
    RollsBackInsteadOfCommitting,
    IgnoresSavepoints,
    TearsBatches,
    CountsOneRowTooMany,
}

#[derive(Debug)]
struct Twisted<T> {
    inner: T,
    twist: Twist,
}

async fn sqlite(twist: Twist) -> Arc<dyn Database> {
    let config = SqlConfig::development("sqlite::memory:").with_connections(2, 2);
    let inner = SqlDatabase::connect(config).await.expect("opened");
    Arc::new(Twisted { inner, twist })
}

#[async_trait]
impl Backend for Twisted<SqlDatabase> {
    fn backend(&self) -> &'static str {
        "twisted"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Database for Twisted<SqlDatabase> {
    async fn execute(&self, statement: Statement) -> Result<Executed> {
        self.inner.execute(statement).await
    }

    async fn fetch_all(&self, statement: Statement) -> Result<Vec<Row>> {
        self.inner.fetch_all(statement).await
    }

    async fn fetch_optional(&self, statement: Statement) -> Result<Option<Row>> {
        self.inner.fetch_optional(statement).await
    }

    async fn fetch(&self, statement: Statement) -> Result<RowStream> {
        self.inner.fetch(statement).await
    }

    async fn insert_many(&self, batch: BatchInsert) -> Result<Executed> {
        self.inner.insert_many(batch).await
    }

    async fn scatter(&self, scatter: Scatter) -> Result<Vec<Row>> {
        self.inner.scatter(scatter).await
    }

    async fn begin(&self, options: TransactionOptions) -> Result<Box<dyn Transaction>> {
        Ok(Box::new(Twisted {
            inner: self.inner.begin(options).await?,
            twist: self.twist,
        }))
    }

    async fn migrate(&self, migrations: Migrations) -> Result<MigrationReport> {
        self.inner.migrate(migrations).await
    }

    fn pool_status(&self) -> PoolStatus {
        self.inner.pool_status()
    }
}

#[async_trait]
impl Transaction for Twisted<Box<dyn Transaction>> {
    async fn execute(&mut self, statement: Statement) -> Result<Executed> {
        let mut executed = self.inner.execute(statement).await?;
        if self.twist == Twist::CountsOneRowTooMany {
            executed.rows_affected += 1;
        }
        Ok(executed)
    }

    async fn fetch_all(&mut self, statement: Statement) -> Result<Vec<Row>> {
        self.inner.fetch_all(statement).await
    }

    async fn fetch_optional(&mut self, statement: Statement) -> Result<Option<Row>> {
        self.inner.fetch_optional(statement).await
    }

    async fn insert_many(&mut self, mut batch: BatchInsert) -> Result<Executed> {
        if self.twist == Twist::TearsBatches && batch.rows.len() > 1 {
            batch.rows.truncate(1);
        }
        self.inner.insert_many(batch).await
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        self.inner.savepoint(name).await
    }

    async fn release_savepoint(&mut self, name: &str) -> Result<()> {
        self.inner.release_savepoint(name).await
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        if self.twist == Twist::IgnoresSavepoints {
            return Ok(());
        }
        self.inner.rollback_to(name).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        if self.twist == Twist::RollsBackInsteadOfCommitting {
            return self.inner.rollback().await;
        }
        self.inner.commit().await
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        if self.twist == Twist::CommitsInsteadOfRollingBack {
            return self.inner.commit().await;
        }
        self.inner.rollback().await
    }
}

#[tokio::test]
async fn sqlite_does_what_the_model_does() {
    let options = ModelOptions::new(fastrand::u64(..)).with_cases(60).with_steps(40);
    let outcome = models::database(sqlite(Twist::Nothing).await, "m", options).await;
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[tokio::test]
async fn every_wrong_database_is_caught_in_a_few_steps() {
    for twist in [
        Twist::CommitsInsteadOfRollingBack,
        Twist::RollsBackInsteadOfCommitting,
        Twist::IgnoresSavepoints,
        Twist::TearsBatches,
        Twist::CountsOneRowTooMany,
    ] {
        let options = ModelOptions::new(7).with_steps(40);
        check_caught(&twist, models::database(sqlite(twist).await, "m", options).await);
    }
}
