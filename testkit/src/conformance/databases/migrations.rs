//! The history of the schema.

use infra_core::ErrorKind;
use infra_core::database::{Database, DatabaseExt, Migration, Migrations, Statement};

use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error};

/// Creates a table, adds a column, writes a row: in that order or not at all.
fn steps(table: &str) -> [Migration; 3] {
    [
        Migration::new(
            1,
            "create",
            format!("create table {table} (id bigint primary key)"),
        ),
        Migration::new(
            2,
            "add a column",
            format!("alter table {table} add column note varchar(20)"),
        ),
        Migration::new(
            3,
            "write",
            format!("insert into {table} (id, note) values (1, 'x')"),
        ),
    ]
}

fn history(steps: impl IntoIterator<Item = Migration>) -> Result<Migrations, Failure> {
    Migrations::new(steps).premise("a valid history")
}

async fn count(database: &dyn Database, table: &str) -> Result<i64, Failure> {
    database
        .query_one(Statement::new(format!("select count(*) from {table}")))
        .await
        .premise("rows are counted")
}

/// Each step is applied once, in ascending order; a second run finds nothing to do, a longer history only its new steps.
pub async fn db_030_migrations_are_applied_once_and_in_order(harness: &Harness<dyn Database>) -> Outcome {
    let (database, table) = (harness.client().await?, harness.name("history"));
    let [first, second, third] = steps(&table);
    let report = database
        .migrate(history([second.clone(), first.clone()])?)
        .await?;
    check_eq!(
        (report.applied, report.already_applied),
        (vec![1, 2], 0),
        "the first run"
    );
    let report = database
        .migrate(history([first.clone(), second.clone()])?)
        .await?;
    check_eq!(
        (report.applied, report.already_applied),
        (vec![], 2),
        "the second run"
    );
    let report = database.migrate(history([first, second, third])?).await?;
    check_eq!(
        (report.applied, report.already_applied),
        (vec![3], 2),
        "a longer history"
    );
    check_eq!(
        count(&*database, &table).await?,
        1,
        "rows that the third step wrote"
    );
    Ok(())
}

/// Of several starters one applies a step, and the others wait for it.
pub async fn db_031_starters_at_the_same_time_apply_each_step_once(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let table = harness.name("history");
    let mut starters = tokio::task::JoinSet::new();
    let watcher = harness.client().await?;
    for _ in 0..4 {
        let (database, history) = (harness.client().await?, history(steps(&table))?);
        starters.spawn(async move { database.migrate(history).await });
    }
    let mut applied = Vec::new();
    while let Some(report) = starters.join_next().await {
        applied.extend(report??.applied);
    }
    applied.sort_unstable();
    check_eq!(applied, [1, 2, 3], "what four starters applied together");
    check_eq!(
        count(&*watcher, &table).await?,
        1,
        "rows that the third step wrote"
    );
    Ok(())
}

/// A step that was changed after it was applied is found out before anything is done.
pub async fn db_032_a_changed_step_is_a_conflict(harness: &Harness<dyn Database>) -> Outcome {
    let (database, table) = (harness.client().await?, harness.name("history"));
    let [first, second, third] = steps(&table);
    database
        .migrate(history([first.clone()])?)
        .await
        .premise("a first migration")?;
    let changed = Migration::new(
        1,
        "create",
        format!("create table {table} (id bigint primary key, more bigint)"),
    );
    let answer = database.migrate(history([changed, second, third])?).await;
    let error = check_error!(answer, ErrorKind::Conflict, "a step that was changed");
    check!(
        error.message().contains('1'),
        "the changed step is not named: {error}"
    );
    Ok(())
}

/// A step that fails is named; those before it stay applied, those after it are not begun.
pub async fn db_033_a_failing_step_is_named_and_those_before_it_stay(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let (database, table) = (harness.client().await?, harness.name("history"));
    let [first, second, third] = steps(&table);
    let broken = Migration::new(2, "the broken one", "create tabel nonsense (id bigint)");
    let answer = database
        .migrate(history([first.clone(), broken, third.clone()])?)
        .await;
    let error = answer.err().premise("a broken step fails")?;
    check!(
        error.to_string().contains("the broken one"),
        "the failing step is not named: {error}"
    );
    check_eq!(
        count(&*database, &table).await?,
        0,
        "rows of a step after the failing one"
    );
    let report = database.migrate(history([first, second, third])?).await?;
    check_eq!(report.applied, [2, 3], "what is applied once the step is mended");
    Ok(())
}
