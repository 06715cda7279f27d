//! The cases of the database, and of transactions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::LocalBoxFuture;
use infra_core::Result;
use infra_core::database::{
    BatchInsert, Database, DatabaseExt, Migration, Migrations, Scatter, ScopedFutureExt, Statement,
    Transaction, TransactionExt, TransactionOptions, Value,
};

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::check;
use crate::conformance::{Failure, Outcome, Subject};
use crate::time::eventually;
use crate::unique;

/// How long a connection may take to be given back.
const PROMPTLY: Duration = Duration::from_secs(3);

/// A database with a table of one column, and one that is sharded by its only column.
#[derive(Debug)]
pub struct DatabaseGround {
    route: Route,
    bare: Arc<dyn Database>,
    database: Arc<dyn Database>,
    table: String,
    sharded: Option<String>,
}

impl DatabaseGround {
    /// Makes a table in `bare`, which will be called over `route` and may be shared by many grounds: it is not shut down. `sharded` is the name of a table with a column `n` that exists as often
    /// as the configuration says, where there is one.
    ///
    /// # Errors
    /// The backend's.
    pub async fn new(
        bare: Arc<dyn Database>,
        route: Route,
        sharded: Option<String>,
    ) -> Result<Self, Failure> {
        let table = unique("cancel");
        bare.execute(Statement::new(format!("create table {table} (n bigint)")))
            .await?;
        Ok(Self {
            database: <dyn Database as Subject>::behind(route.stack(), bare.clone()),
            route,
            bare,
            table,
            sharded,
        })
    }

    fn insert(&self, number: i64) -> Statement {
        Statement::new(format!("insert into {} (n) values ({number})", self.table))
    }

    fn select(&self) -> Statement {
        Statement::new(format!("select n from {} order by n", self.table))
    }

    fn count(&self) -> Statement {
        Statement::new(format!("select count(*) from {}", self.table))
    }

    fn two_rows(&self, table: &str) -> BatchInsert {
        let rows = [1, 2].map(|number: i64| vec![Value::from(number)]);
        BatchInsert::new(table.to_owned(), ["n"]).with_rows(rows)
    }

    /// Rows for every shard, or for the plain table where there are none.
    fn many_rows(&self) -> BatchInsert {
        let rows = (0..8).map(|number: i64| vec![Value::from(number)]);
        let table = self.sharded.as_ref().unwrap_or(&self.table);
        BatchInsert::new(table.clone(), ["n"]).with_rows(rows)
    }

    fn everywhere(&self) -> Scatter {
        let table = self.sharded.as_ref().unwrap_or(&self.table);
        Scatter::new(Statement::new(format!("select n from {table}"))).order_by("n")
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let mut transaction = self.database.begin(TransactionOptions::new()).await?;
        transaction.execute(self.insert(1)).await?;
        Ok(transaction)
    }

    /// Half of what it writes is undone, and half is not.
    async fn savepoints(&self) -> Outcome {
        let mut transaction = self.begin().await?;
        transaction.savepoint("kept").await?;
        transaction.execute(self.insert(2)).await?;
        transaction.release_savepoint("kept").await?;
        transaction.savepoint("undone").await?;
        transaction.execute(self.insert(3)).await?;
        transaction.rollback_to("undone").await?;
        Ok(transaction.commit().await?)
    }

    async fn transaction(&self) -> Outcome {
        let (first, second) = (self.insert(1), self.insert(2));
        let done = self
            .database
            .transaction(TransactionOptions::new(), |transaction| {
                let (first, second) = (first.clone(), second.clone());
                async move {
                    transaction.execute(first).await?;
                    transaction.execute(second).await
                }
                .scope_boxed()
            });
        done.await?;
        Ok(())
    }

    async fn migrate(&self) -> Outcome {
        let step = Migration::new(
            1,
            "one more",
            format!("create table {}_more (n bigint)", self.table),
        );
        self.database.migrate(Migrations::new([step])?).await?;
        Ok(())
    }

    async fn is_idle(&self) -> Outcome {
        let idle = || {
            let status = self.bare.pool_status();
            std::future::ready(status.open == status.idle)
        };
        check!(
            eventually(PROMPTLY, idle).await,
            "a connection was not given back: {:?}",
            self.bare.pool_status()
        );
        Ok(())
    }
}

impl Ground for DatabaseGround {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async {
            self.is_idle().await?;
            // Where one writes at a time, nobody may be left who does.
            let nothing = format!("delete from {} where 1 = 0", self.table);
            self.bare.execute(Statement::new(nothing)).await?;
            let rows: Vec<i64> = self.bare.query_as(self.select()).await?;
            let scattered = match &self.sharded {
                Some(_) => self.bare.scatter(self.everywhere()).await?.len(),
                None => 0,
            };
            Ok(format!("{rows:?}, and {scattered} on all shards"))
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move {
            let drop = Statement::new(format!("drop table {}", self.table));
            self.bare.execute(drop).await.map(|_| ())
        })
    }
}

/// Every operation of databases and transactions on one table.
#[must_use]
pub fn cases() -> Vec<Case<DatabaseGround>> {
    let mut all = statements();
    all.extend(transactions());
    all
}

/// The operations on sharded tables, for grounds that have one.
#[must_use]
pub fn sharding() -> Vec<Case<DatabaseGround>> {
    cases![
        "Database::insert_many (on all shards)" => |g| g.database.insert_many(g.many_rows()).await?,
        "Database::scatter" => |g| g.database.scatter(g.everywhere()).await?,
    ]
}

/// The operation that needs a database of its own for each ground, since it is remembered there what was done.
#[must_use]
pub fn migrations() -> Vec<Case<DatabaseGround>> {
    cases!["Database::migrate" => |g| g.migrate().await?]
}

fn statements() -> Vec<Case<DatabaseGround>> {
    cases![
        "Database::execute" => |g| g.database.execute(g.insert(1)).await?,
        "Database::fetch_all" => |g| g.database.fetch_all(g.select()).await?,
        "Database::fetch_optional" => |g| g.database.fetch_optional(g.count()).await?,
        "Database::fetch" => |g| {
            g.database.fetch(g.select()).await?.try_collect::<Vec<_>>().await?
        },
        "Database::insert_many" => |g| g.database.insert_many(g.two_rows(&g.table)).await?,
        "Database::begin" => |g| g.database.begin(TransactionOptions::new()).await?,
        "DatabaseExt::query_as" => |g| g.database.query_as::<i64>(g.select()).await?,
        "DatabaseExt::query_one" => |g| g.database.query_one::<i64>(g.count()).await?,
        "DatabaseExt::query_optional" => |g| g.database.query_optional::<i64>(g.count()).await?,
        "DatabaseExt::transaction" => |g| g.transaction().await?,
        "Backend::health (of a database)" => |g| g.database.health().await?,
    ]
}

fn transactions() -> Vec<Case<DatabaseGround>> {
    cases![
        "Transaction::execute" => |g| {
            let mut transaction = g.begin().await?;
            transaction.execute(g.insert(2)).await?;
            transaction.commit().await?
        },
        "Transaction::fetch_all" => |g| g.begin().await?.fetch_all(g.select()).await?,
        "Transaction::fetch_optional" => |g| g.begin().await?.fetch_optional(g.count()).await?,
        "Transaction::insert_many" => |g| {
            let mut transaction = g.begin().await?;
            transaction.insert_many(g.two_rows(&g.table)).await?;
            transaction.commit().await?
        },
        "Transaction::savepoint, Transaction::release_savepoint, Transaction::rollback_to" => |g| g.savepoints().await?,
        "Transaction::commit" => |g| g.begin().await?.commit().await?,
        "Transaction::commit (of nothing)" => |g| {
            g.database.begin(TransactionOptions::new().read_only()).await?.commit().await?
        },
        "Transaction::rollback" => |g| g.begin().await?.rollback().await?,
        "TransactionExt::query_as" => |g| g.begin().await?.query_as::<i64>(g.select()).await?,
        "TransactionExt::query_one" => |g| g.begin().await?.query_one::<i64>(g.count()).await?,
    ]
}
