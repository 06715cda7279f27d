//! Transactions of a database against a map that is copied when one begins.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use infra_core::database::{
    BatchInsert, Database, DatabaseExt, Executed, Statement, Transaction, TransactionExt, TransactionOptions,
    Value,
};
use infra_core::{ErrorKind, Result};
use proptest::collection::vec;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy, Union};

use super::explore::{ModelOptions, explore};
use crate::conformance::Outcome;
use crate::{check, check_eq};

/// Names of savepoints; one that is used again means the newest.
const SAVEPOINTS: [&str; 2] = ["first", "second"];

/// Transactions: what is committed is there, what is rolled back or dropped is not, savepoints undo what came after them, batches are
/// whole, a second row of the same key is refused, and numbers of changed rows are right.
///
/// After a refused statement only what the contract promises is done: a rollback, or one to a savepoint.
///
/// # Errors
/// A [`Failure`](crate::conformance::Failure) with the shortest schedule on which the database and the model disagree.
pub async fn database(database: Arc<dyn Database>, namespace: &str, options: ModelOptions) -> Outcome {
    let schedules = vec(step(), 1..=options.steps.max(1));
    explore("database", options, schedules, |number, steps| {
        let (database, table) = (database.clone(), format!("{namespace}_{number}"));
        async move {
            let create = format!("create table {table} (k bigint primary key, n bigint)");
            database.execute(Statement::new(create)).await?;
            let mut play = Play {
                database: &*database,
                table: &table,
                committed: Rows::new(),
                open: None,
            };
            let outcome = play.run(steps).await;
            drop(play);
            let drop_table = format!("drop table {table}");
            database.execute(Statement::new(drop_table)).await?;
            outcome
        }
    })
    .await
}

#[derive(Clone)]
enum Step {
    Commit,
    Rollback,
    /// The transaction is dropped.
    Drop,
    Savepoint(&'static str),
    Release(&'static str),
    RollbackTo(&'static str),
    /// Statements in the transaction. The first one, or the first savepoint, begins it.
    Insert(i64, i64),
    InsertMany(Vec<i64>),
    Add(i64, i64),
    Delete(i64),
    Read,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Commit => f.write_str("commit"),
            Self::Rollback => f.write_str("rollback"),
            Self::Drop => f.write_str("drop the transaction"),
            Self::Savepoint(name) => write!(f, "savepoint {name}"),
            Self::Release(name) => write!(f, "release {name}"),
            Self::RollbackTo(name) => write!(f, "rollback to {name}"),
            Self::Insert(key, number) => write!(f, "insert {key} = {number}"),
            Self::InsertMany(keys) => write!(f, "insert_many {keys:?}"),
            Self::Add(key, number) => write!(f, "add {number} to {key} and all above"),
            Self::Delete(key) => write!(f, "delete {key}"),
            Self::Read => f.write_str("read"),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let savepoint = || select(&SAVEPOINTS[..]);
    Union::new_weighted(vec![
        (2, Just(Step::Commit).boxed()),
        (1, Just(Step::Rollback).boxed()),
        (1, Just(Step::Drop).boxed()),
        (3, savepoint().prop_map(Step::Savepoint).boxed()),
        (1, savepoint().prop_map(Step::Release).boxed()),
        (3, savepoint().prop_map(Step::RollbackTo).boxed()),
        (
            4,
            (0..4_i64, 0..9_i64).prop_map(|(k, n)| Step::Insert(k, n)).boxed(),
        ),
        (2, vec(0..5_i64, 1..4).prop_map(Step::InsertMany).boxed()),
        (2, (0..4_i64, 1..9_i64).prop_map(|(k, n)| Step::Add(k, n)).boxed()),
        (1, (0..4_i64).prop_map(Step::Delete).boxed()),
        (2, Just(Step::Read).boxed()),
    ])
}

type Rows = BTreeMap<i64, i64>;

struct Play<'a> {
    database: &'a dyn Database,
    table: &'a str,
    committed: Rows,
    open: Option<Open>,
}

/// A transaction, and what it should see.
struct Open {
    transaction: Box<dyn Transaction>,
    rows: Rows,
    savepoints: Vec<(&'static str, Rows)>,
    /// Whether a statement was refused, after which not all engines do another.
    refused: bool,
}

impl Play<'_> {
    async fn run(&mut self, steps: Vec<Step>) -> Outcome {
        for step in steps {
            match step {
                Step::Commit | Step::Rollback | Step::Drop => self.end(&step).await?,
                Step::Savepoint(_) | Step::Release(_) | Step::RollbackTo(_) => self.savepoint(&step).await?,
                Step::Insert(..) | Step::InsertMany(_) | Step::Add(..) | Step::Delete(_) => {
                    self.change(&step).await?
                }
                Step::Read => self.read().await?,
            }
        }
        self.end(&Step::Drop).await?;
        self.read().await
    }

    /// The open transaction, or a new one.
    async fn open(&mut self) -> Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Open {
                transaction: self.database.begin(TransactionOptions::new()).await?,
                rows: self.committed.clone(),
                savepoints: Vec::new(),
                refused: false,
            },
        };
        Ok(self.open.insert(open))
    }

    async fn end(&mut self, step: &Step) -> Outcome {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        match step {
            Step::Commit if !open.refused => {
                open.transaction.commit().await?;
                self.committed = open.rows;
            }
            Step::Drop => drop(open.transaction),
            _ => open.transaction.rollback().await?,
        }
        self.read().await
    }

    async fn savepoint(&mut self, step: &Step) -> Outcome {
        let open = self.open().await?;
        let place = |name: &str| open.savepoints.iter().rposition(|(known, _)| *known == name);
        match step {
            Step::Savepoint(name) if !open.refused => {
                open.transaction.savepoint(name).await?;
                open.savepoints.push((name, open.rows.clone()));
            }
            Step::Release(name) if !open.refused => {
                if let Some(place) = place(name) {
                    open.transaction.release_savepoint(name).await?;
                    open.savepoints.truncate(place);
                }
            }
            Step::RollbackTo(name) => {
                if let Some(place) = place(name) {
                    open.transaction.rollback_to(name).await?;
                    open.rows = open.savepoints[place].1.clone();
                    open.savepoints.truncate(place + 1);
                    open.refused = false;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn change(&mut self, step: &Step) -> Outcome {
        let table = self.table;
        let open = self.open().await?;
        if open.refused {
            return Ok(());
        }
        let answer = ask(&mut *open.transaction, table, step).await;
        match expected(&mut open.rows, step) {
            Some(changed) => check_eq!(answer?.rows_affected, changed, "rows changed by {step:?}"),
            None => {
                open.refused = true;
                check!(
                    answer
                        .as_ref()
                        .is_err_and(|error| error.kind() == ErrorKind::AlreadyExists),
                    "{step:?} gave {answer:?}, expected AlreadyExists"
                );
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> Outcome {
        let all = || Statement::new(format!("select k, n from {} order by k", self.table));
        let (seen, expected): (Vec<(i64, i64)>, _) = match &mut self.open {
            Some(open) if open.refused => return Ok(()),
            Some(open) => (open.transaction.query_as(all()).await?, &open.rows),
            None => (self.database.query_as(all()).await?, &self.committed),
        };
        let expected: Vec<_> = expected.iter().map(|(key, number)| (*key, *number)).collect();
        check_eq!(seen, expected, "the rows");
        Ok(())
    }
}

async fn ask(transaction: &mut dyn Transaction, table: &str, step: &Step) -> Result<Executed> {
    let text = match step {
        Step::Insert(key, number) => format!("insert into {table} (k, n) values ({key}, {number})"),
        Step::Add(key, number) => format!("update {table} set n = n + {number} where k >= {key}"),
        Step::Delete(key) => format!("delete from {table} where k = {key}"),
        Step::InsertMany(keys) => {
            let rows = keys.iter().map(|key| vec![Value::from(*key), Value::from(0_i64)]);
            let batch = BatchInsert::new(table.to_owned(), ["k", "n"]).with_rows(rows);
            return transaction.insert_many(batch).await;
        }
        _ => return Ok(Executed::new(0)),
    };
    transaction.execute(Statement::new(text)).await
}

/// How many rows change; `None` when the statement is refused and changes nothing.
fn expected(rows: &mut Rows, step: &Step) -> Option<u64> {
    let mut changed = rows.clone();
    let count = match step {
        Step::Insert(key, number) => usize::from(changed.insert(*key, *number).is_none()),
        Step::InsertMany(keys) => keys
            .iter()
            .filter(|key| changed.insert(**key, 0).is_none())
            .count(),
        Step::Add(key, number) => changed.range_mut(key..).map(|(_, n)| *n += number).count(),
        Step::Delete(key) => usize::from(changed.remove(key).is_some()),
        _ => 0,
    };
    let wanted = match step {
        Step::Insert(..) => 1,
        Step::InsertMany(keys) => keys.len(),
        _ => count,
    };
    if count < wanted {
        return None;
    }
    *rows = changed;
    u64::try_from(count).ok()
}
