//! Databases that are broken on purpose: SQLite with one defect.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use infra_core::database::{
    BatchInsert, Database, Executed, MigrationReport, Migrations, Parameters, PoolStatus, Row, RowStream,
    Scatter, Statement, Transaction, TransactionOptions, Value,
};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_sql::{SqlConfig, SqlDatabase};
use infra_testkit::conformance::{self, Breakage, Fixture, prove};

use crate::support::{backend_of_inner, locked};

pub(crate) const FAMILY: &str = "databases";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::databases::SCENARIOS,
        &[
            broken(
                "DB-001",
                WritesBehind,
                "keeps its first insert until its next call",
            ),
            broken("DB-002", AbsentIsAnError, "takes an absent row for an error"),
            broken(
                "DB-003",
                CountsMatches,
                "says that a delete affected one row at least",
            ),
            broken("DB-004", StripsComments, "takes comments out of text"),
            broken(
                "DB-005",
                ReplacesInLiterals,
                "takes away question marks in literals",
            ),
            broken("DB-006", EmptyListIsAll, "takes an empty list for no condition"),
            broken("DB-007", FillsWithNull, "binds NULL where a value is missing"),
            broken(
                "DB-008",
                UniqueIsConflict,
                "reports a unique violation in a plain insert as a conflict",
            ),
            broken(
                "DB-009",
                SyntaxIsInternal,
                "reports a statement that makes no sense as an internal error",
            ),
            broken(
                "DB-010",
                ReturningIsEmpty,
                "returns no rows where they were asked for",
            ),
            broken("DB-011", RoundsMoments, "keeps moments to the second"),
            broken("DB-012", CoercesNames, "reads a lone column `name` as a number"),
            broken("DB-013", ShowsValues, "shows values in its errors"),
            broken(
                "DB-014",
                CommitsLate,
                "commits two inserts a moment after it said so",
            ),
            broken("DB-015", CommitsErrors, "commits when it is told to roll back"),
            broken("DB-016", CommitsDrops, "commits what is dropped"),
            broken("DB-017", ForgetsSavepoints, "goes back to no savepoint"),
            broken(
                "DB-018",
                WritesReadOnly,
                "does not hold a transaction to its promise not to write",
            ),
            broken(
                "DB-019",
                ReordersUpdates,
                "applies the updates of a transaction in reverse",
            ),
            broken(
                "DB-020",
                LosesUpdates,
                "forgets one update in seven of a transaction and says nothing",
            ),
            broken("DB-021", ForcesStale, "ignores a condition on a revision"),
            broken(
                "DB-022",
                LeaksStreams,
                "keeps a connection for each stream that is dropped early",
            ),
            broken(
                "DB-023",
                ExhaustedIsUnavailable,
                "does not say that it waited for a connection in vain",
            ),
            broken(
                "DB-024",
                LeaksDropped,
                "keeps a connection for each call that is dropped",
            ),
            broken("DB-025", DropsTheEnd, "inserts no more than one statement holds"),
            broken(
                "DB-026",
                InsertsPartly,
                "inserts a batch row by row, without a transaction",
            ),
            broken("DB-027", CountsSkipped, "counts the rows that it skipped"),
            broken("DB-028", PadsRows, "fills rows that are too short with NULL"),
            broken("DB-029", WorksAfterShutdown, "goes on after its shutdown"),
            broken(
                "DB-030",
                ForgetsApplied,
                "says that nothing had been applied before",
            ),
            broken(
                "DB-031",
                MigratesTwice,
                "lets starters at the same time all say that they applied every step",
            ),
            broken(
                "DB-032",
                IgnoresChecksums,
                "does not notice that a step was changed",
            ),
            broken("DB-033", HidesStep, "does not name the step that failed"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    WritesBehind,
    AbsentIsAnError,
    CountsMatches,
    StripsComments,
    ReplacesInLiterals,
    EmptyListIsAll,
    FillsWithNull,
    UniqueIsConflict,
    SyntaxIsInternal,
    ReturningIsEmpty,
    RoundsMoments,
    CoercesNames,
    ShowsValues,
    CommitsLate,
    CommitsErrors,
    CommitsDrops,
    ForgetsSavepoints,
    WritesReadOnly,
    ReordersUpdates,
    LosesUpdates,
    ForcesStale,
    LeaksStreams,
    ExhaustedIsUnavailable,
    LeaksDropped,
    DropsTheEnd,
    InsertsPartly,
    CountsSkipped,
    PadsRows,
    WorksAfterShutdown,
    ForgetsApplied,
    MigratesTwice,
    IgnoresChecksums,
    HidesStep,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Database> {
    Breakage::new(breaks, words, move |setup| async move {
        // One scenario waits for a connection in vain; the others must not fail on a busy machine.
        let patience = Duration::from_millis(if setup.scenario == "DB-023" { 500 } else { 10_000 });
        let folder =
            tempfile::tempdir().map_err(|error| Error::invalid_config("no folder").with_source(error))?;
        let config = SqlConfig::development(format!("sqlite://{}", folder.path().join("app.db").display()))
            .with_connections(8, 1)
            .with_busy_timeout(Duration::from_secs(1))
            .with_acquire_timeout(patience);
        let migrating = Arc::new(AtomicUsize::new(0));
        let fixture = Fixture::server(move || {
            let (config, migrating) = (config.clone(), Arc::clone(&migrating));
            async move {
                let inner = SqlDatabase::connect(config).await?;
                let broken = Broken {
                    inner,
                    defect,
                    kept: Mutex::default(),
                    wrote: AtomicBool::new(false),
                    updates: Arc::default(),
                    migrating,
                };
                Ok(Arc::new(broken) as Arc<dyn Database>)
            }
        });
        Ok(fixture.on_teardown(|| async move {
            drop(folder);
            Ok(())
        }))
    })
}

/// SQLite with one defect.
#[derive(Debug)]
struct Broken {
    inner: SqlDatabase,
    defect: Defect,
    /// The insert that is written behind, and whether there was one.
    kept: Mutex<Option<Statement>>,
    wrote: AtomicBool,
    /// Updates of transactions so far.
    updates: Arc<AtomicUsize>,
    /// Starters that migrate now, over all clients.
    migrating: Arc<AtomicUsize>,
}

impl Broken {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    async fn flush(&self) -> Result<()> {
        let kept = locked(&self.kept).take();
        match kept {
            Some(statement) => self.inner.execute(statement).await.map(|_| ()),
            None => Ok(()),
        }
    }

    /// The statement as the defect makes it.
    fn alter(&self, statement: Statement) -> Statement {
        match self.defect {
            Defect::StripsComments => rewrite(&statement, statement.text(), |value| match value {
                Value::Text(text) => Value::Text(text.replace("--", "")),
                other => other,
            }),
            Defect::RoundsMoments => rewrite(&statement, statement.text(), |value| match value {
                Value::Timestamp(moment) => Value::Timestamp(moment.replace_nanosecond(0).unwrap_or(moment)),
                other => other,
            }),
            Defect::ReplacesInLiterals if matches!(statement.parameters(), Parameters::Named(_)) => {
                rewrite(&statement, &statement.text().replace('?', ""), |value| value)
            }
            Defect::EmptyListIsAll if has_empty_list(&statement) => {
                Statement::new(statement.text().replace("in (:ids)", "is not null"))
            }
            Defect::FillsWithNull if is_unbound(&statement) && statement.text().contains(":id") => {
                statement.bind("id", Value::Null)
            }
            Defect::ForcesStale if statement.text().contains(":revision") => {
                Statement::new(statement.text().replace("and number = :revision", ""))
            }
            _ => statement,
        }
    }

    /// The error as the defect reports it.
    fn report(&self, error: Error, text: &str, parameters: &Parameters) -> Error {
        let kind = error.kind();
        match self.defect {
            Defect::UniqueIsConflict if kind == ErrorKind::AlreadyExists => {
                Error::new(ErrorKind::Conflict, "unique")
            }
            Defect::SyntaxIsInternal if kind == ErrorKind::InvalidArgument && text.starts_with("sel") => {
                Error::new(ErrorKind::Internal, "no such thing")
            }
            Defect::ShowsValues => error.context(format_args!("with {}", shown(parameters))),
            Defect::ExhaustedIsUnavailable if kind == ErrorKind::Timeout => {
                Error::new(ErrorKind::Unavailable, "busy")
            }
            _ => error,
        }
    }

    async fn run(&self, statement: Statement) -> Result<Executed> {
        let guard = if self.is(Defect::LeaksDropped) {
            Some(Leak(Some(
                self.inner.begin(TransactionOptions::new().read_only()).await?,
            )))
        } else {
            None
        };
        let answer = self.inner.execute(statement).await;
        if let Some(mut guard) = guard {
            drop(guard.0.take());
        }
        answer
    }
}

/// Keeps its connection for ever unless it was emptied.
struct Leak(Option<Box<dyn Transaction>>);

impl Drop for Leak {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}

fn rewrite(statement: &Statement, text: &str, change: impl Fn(Value) -> Value) -> Statement {
    let fresh = Statement::new(text.to_owned());
    match statement.parameters() {
        Parameters::Named(named) => named.iter().fold(fresh, |statement, (name, values)| {
            statement.bind_list(name.clone(), values.iter().cloned().map(&change))
        }),
        Parameters::Positional(values) => values
            .iter()
            .cloned()
            .map(&change)
            .fold(fresh, |statement, value| statement.bind_next(value)),
        _ => fresh,
    }
}

fn has_empty_list(statement: &Statement) -> bool {
    matches!(statement.parameters(), Parameters::Named(named) if named.values().any(Vec::is_empty))
}

fn is_unbound(statement: &Statement) -> bool {
    matches!(statement.parameters(), Parameters::Positional(values) if values.is_empty())
}

fn shown(parameters: &Parameters) -> String {
    let texts = |values: &[Value]| -> Vec<String> {
        values
            .iter()
            .filter_map(|value| {
                if let Value::Text(text) = value {
                    Some(text.clone())
                } else {
                    None
                }
            })
            .collect()
    };
    match parameters {
        Parameters::Named(named) => named.values().flat_map(|values| texts(values)).collect(),
        Parameters::Positional(values) => texts(values).concat(),
        _ => String::new(),
    }
}

backend_of_inner!(Broken, shutdown = close);

impl Broken {
    async fn close(&self, deadline: Duration) -> Result<()> {
        if self.is(Defect::WorksAfterShutdown) {
            return Ok(());
        }
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Database for Broken {
    async fn execute(&self, statement: Statement) -> Result<Executed> {
        self.flush().await?;
        let insert = statement.text().starts_with("insert");
        if self.is(Defect::WritesBehind) && insert && !self.wrote.swap(true, Ordering::Relaxed) {
            *locked(&self.kept) = Some(statement);
            return Ok(Executed::new(1));
        }
        let statement = self.alter(statement);
        let (text, parameters) = (statement.text().to_owned(), statement.parameters().clone());
        let executed = self
            .run(statement)
            .await
            .map_err(|error| self.report(error, &text, &parameters))?;
        if self.is(Defect::CountsMatches) && text.starts_with("delete") {
            return Ok(Executed::new(executed.rows_affected.max(1)));
        }
        Ok(executed)
    }

    async fn fetch_all(&self, statement: Statement) -> Result<Vec<Row>> {
        self.flush().await?;
        let statement = self.alter(statement);
        let (text, parameters) = (statement.text().to_owned(), statement.parameters().clone());
        if self.is(Defect::ReturningIsEmpty) && text.contains("returning") {
            return self.inner.execute(statement).await.map(|_| Vec::new());
        }
        let rows = self
            .inner
            .fetch_all(statement)
            .await
            .map_err(|error| self.report(error, &text, &parameters))?;
        if self.is(Defect::CoercesNames) && rows.iter().all(|row| row.columns() == ["name"]) {
            return rows
                .iter()
                .map(|row| Row::new(row.columns().into(), vec![Value::Integer(0)]))
                .collect();
        }
        Ok(rows)
    }

    async fn fetch_optional(&self, statement: Statement) -> Result<Option<Row>> {
        self.flush().await?;
        let row = self.inner.fetch_optional(self.alter(statement)).await?;
        if self.is(Defect::AbsentIsAnError) && row.is_none() {
            return Err(Error::new(ErrorKind::NotFound, "no row"));
        }
        Ok(row)
    }

    async fn fetch(&self, statement: Statement) -> Result<RowStream> {
        self.flush().await?;
        if self.is(Defect::LeaksStreams) {
            let mut leaked = self.inner.fetch(statement.clone()).await?;
            let _ = leaked.next().await;
            std::mem::forget(leaked);
        }
        self.inner.fetch(statement).await
    }

    async fn insert_many(&self, mut batch: BatchInsert) -> Result<Executed> {
        self.flush().await?;
        match self.defect {
            Defect::DropsTheEnd => batch.rows.truncate(10_000),
            Defect::CountsSkipped => {
                let rows = batch.rows.len() as u64;
                return self.inner.insert_many(batch).await.map(|_| Executed::new(rows));
            }
            Defect::PadsRows => {
                let columns = batch.columns.len();
                batch
                    .rows
                    .iter_mut()
                    .for_each(|row| row.resize(columns, Value::Null));
            }
            Defect::InsertsPartly if batch.rows.len() < 100 => {
                let mut affected = 0;
                for row in std::mem::take(&mut batch.rows) {
                    affected += self
                        .inner
                        .insert_many(batch.clone().with_row(row))
                        .await?
                        .rows_affected;
                }
                // Without rows it is checked, and inserts nothing.
                self.inner.insert_many(batch).await?;
                return Ok(Executed::new(affected));
            }
            _ => {}
        }
        self.inner.insert_many(batch).await
    }

    async fn scatter(&self, scatter: Scatter) -> Result<Vec<Row>> {
        self.inner.scatter(scatter).await
    }

    async fn begin(&self, mut options: TransactionOptions) -> Result<Box<dyn Transaction>> {
        self.flush().await?;
        if self.is(Defect::WritesReadOnly) {
            options.read_only = false;
        }
        let inner = Some(self.inner.begin(options).await?);
        let (defect, updates) = (self.defect, Arc::clone(&self.updates));
        Ok(Box::new(BrokenTransaction {
            inner,
            defect,
            updates,
            held: Vec::new(),
            inserts: 0,
        }))
    }

    async fn migrate(&self, migrations: Migrations) -> Result<MigrationReport> {
        let together = self.migrating.fetch_add(1, Ordering::SeqCst) > 0;
        let versions: Vec<u64> = migrations.steps().iter().map(|step| step.version).collect();
        let answer = self.inner.migrate(migrations).await;
        self.migrating.fetch_sub(1, Ordering::SeqCst);
        match (answer, self.defect) {
            (Ok(report), Defect::ForgetsApplied) => Ok(MigrationReport::new(report.applied, 0)),
            (Ok(_), Defect::MigratesTwice) if together => Ok(MigrationReport::new(versions, 0)),
            (Err(error), Defect::IgnoresChecksums) if error.kind() == ErrorKind::Conflict => {
                Ok(MigrationReport::default())
            }
            (Err(error), Defect::HidesStep) if error.kind() != ErrorKind::Conflict => {
                Err(Error::new(error.kind(), "a migration failed"))
            }
            (answer, _) => answer,
        }
    }

    fn pool_status(&self) -> PoolStatus {
        self.inner.pool_status()
    }
}

/// A transaction of SQLite with one defect.
#[derive(Debug)]
struct BrokenTransaction {
    inner: Option<Box<dyn Transaction>>,
    defect: Defect,
    updates: Arc<AtomicUsize>,
    /// Updates that are held back until the commit.
    held: Vec<Statement>,
    inserts: u32,
}

impl BrokenTransaction {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn inner(&mut self) -> Result<&mut Box<dyn Transaction>> {
        self.inner
            .as_mut()
            .ok_or_else(|| Error::closed("this transaction"))
    }
}

#[async_trait]
impl Transaction for BrokenTransaction {
    async fn execute(&mut self, statement: Statement) -> Result<Executed> {
        self.inserts += u32::from(statement.text().starts_with("insert"));
        if statement.text().starts_with("update") {
            let seventh = self.updates.fetch_add(1, Ordering::SeqCst) % 7 == 6;
            if self.is(Defect::LosesUpdates) && seventh {
                return Ok(Executed::new(1));
            }
            if self.is(Defect::ReordersUpdates) {
                self.held.push(statement);
                return Ok(Executed::new(1));
            }
        }
        self.inner()?.execute(statement).await
    }

    async fn fetch_all(&mut self, statement: Statement) -> Result<Vec<Row>> {
        self.inner()?.fetch_all(statement).await
    }

    async fn fetch_optional(&mut self, statement: Statement) -> Result<Option<Row>> {
        self.inner()?.fetch_optional(statement).await
    }

    async fn insert_many(&mut self, batch: BatchInsert) -> Result<Executed> {
        self.inner()?.insert_many(batch).await
    }

    async fn savepoint(&mut self, name: &str) -> Result<()> {
        self.inner()?.savepoint(name).await
    }

    async fn release_savepoint(&mut self, name: &str) -> Result<()> {
        self.inner()?.release_savepoint(name).await
    }

    async fn rollback_to(&mut self, name: &str) -> Result<()> {
        if self.is(Defect::ForgetsSavepoints) {
            return Ok(());
        }
        self.inner()?.rollback_to(name).await
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        for statement in std::mem::take(&mut self.held).into_iter().rev() {
            self.inner()?.execute(statement).await?;
        }
        let late = self.is(Defect::CommitsLate) && self.inserts == 2;
        let Some(inner) = self.inner.take() else {
            return Ok(());
        };
        if late {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                inner.commit().await
            });
            return Ok(());
        }
        inner.commit().await
    }

    async fn rollback(mut self: Box<Self>) -> Result<()> {
        let commits = self.is(Defect::CommitsErrors);
        match self.inner.take() {
            Some(inner) if commits => inner.commit().await,
            Some(inner) => inner.rollback().await,
            None => Ok(()),
        }
    }
}

impl Drop for BrokenTransaction {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take().filter(|_| self.is(Defect::CommitsDrops)) {
            tokio::spawn(inner.commit());
        }
    }
}
