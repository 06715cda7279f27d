//! A transaction on one of the databases.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use infra_core::database::{BatchInsert, Executed, Row, Statement, Transaction};
use infra_core::{Error, Result};

use crate::batch;
use crate::database::Shared;
use crate::error::Placed as _;
use crate::observe::Observation;
use crate::sqlite::{Connection, Outcome, TransactionKind, Want};

/// A transaction that is open.
pub(crate) struct SqlTransaction {
    shared: Arc<Shared>,
    connection: Connection,
    database: usize,
    changed_schema: bool,
}

impl fmt::Debug for SqlTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlTransaction")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl SqlTransaction {
    pub(crate) async fn begin(shared: Arc<Shared>, database: usize, kind: TransactionKind) -> Result<Self> {
        let pool = Arc::clone(shared.pool(database)?);
        let mut connection = pool.connection(kind == TransactionKind::Writing).await?;
        connection.begin(kind).await?;
        Ok(Self {
            shared,
            connection,
            database,
            changed_schema: false,
        })
    }

    async fn run(&mut self, statement: &Statement, want: Want) -> Result<Outcome> {
        let routed = self.shared.routed(statement)?;
        self.check_database(routed.database)?;
        let want = if want == Want::First && !routed.parsed.only_reads() {
            Want::All
        } else {
            want
        };
        let observation = Observation::begin(routed.parsed.summary(), self.shared.config.slow_query);
        let result = self.connection.run(routed.bound, want).await;
        observation.end(&result);
        if routed.parsed.changes_schema() && result.is_ok() {
            self.changed_schema = true;
            self.connection.forget_statements().await?;
        }
        result
    }

    async fn insert(&mut self, batch: BatchInsert) -> Result<u64> {
        self.shared.check_open()?;
        let chunks = batch::chunks(&self.shared.router, batch)?;
        for chunk in &chunks {
            self.check_database(chunk.database)?;
        }
        batch::run(&mut self.connection, chunks, self.shared.config.slow_query).await
    }

    fn check_database(&self, wanted: usize) -> Result<()> {
        if wanted == self.database {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "the statement belongs on database {} and the transaction runs on database {}; a transaction spans one database: begin it with TransactionOptions::on_shard, or use a second one",
            wanted, self.database
        )))
    }
}

#[async_trait]
impl Transaction for SqlTransaction {
    async fn execute(&mut self, statement: Statement) -> Result<Executed> {
        let outcome = self.run(&statement, Want::Count).await.during("execute")?;
        Ok(Executed::new(outcome.rows_affected))
    }

    async fn fetch_all(&mut self, statement: Statement) -> Result<Vec<Row>> {
        Ok(self.run(&statement, Want::All).await.during("fetch_all")?.rows)
    }

    async fn fetch_optional(&mut self, statement: Statement) -> Result<Option<Row>> {
        let outcome = self.run(&statement, Want::First).await.during("fetch_optional")?;
        Ok(outcome.rows.into_iter().next())
    }

    async fn insert_many(&mut self, batch: BatchInsert) -> Result<Executed> {
        self.insert(batch).await.map(Executed::new).during("insert_many")
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        let name = checked_name(name).during("savepoint")?;
        let text = format!("savepoint \"{name}\"");
        self.connection.savepoint(&text).await.during("savepoint")
    }

    async fn release_savepoint(&mut self, name: &str) -> Result<()> {
        let name = checked_name(name).during("release_savepoint")?;
        let text = format!("release \"{name}\"");
        self.connection.savepoint(&text).await.during("release_savepoint")
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        let name = checked_name(name).during("rollback_to")?;
        let text = format!("rollback to \"{name}\"");
        self.connection.savepoint(&text).await.during("rollback_to")
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let pool = Arc::clone(self.shared.pool(self.database).during("commit")?);
        self.connection.commit().await.during("commit")?;
        if self.changed_schema {
            pool.schema_changed();
        }
        Ok(())
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.connection.rollback().await.during("rollback")
    }
}

/// Names become part of a statement's text, and so must be plain.
fn checked_name(name: &str) -> Result<&str> {
    let plain = !name.is_empty()
        && name.len() <= 63
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain {
        Ok(name)
    } else {
        Err(Error::invalid_argument(
            "the name of a savepoint is 1 to 63 letters, digits and underscores; choose another",
        ))
    }
}
