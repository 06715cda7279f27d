//! Streams, batches, the pool, the end.

use std::time::Duration;

use futures_util::StreamExt;
use infra_core::ErrorKind;
use infra_core::database::{BatchInsert, Database, DatabaseExt, Statement, TransactionOptions, Value};

use super::{insert, numbers, table};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error};

const SOON: Duration = Duration::from_secs(5);

fn batch(table: &str, ids: impl IntoIterator<Item = i64>) -> BatchInsert {
    let rows = ids
        .into_iter()
        .map(|id| vec![Value::from(id), Value::from(format!("n{id}")), Value::from(id)]);
    BatchInsert::new(table.to_owned(), ["id", "name", "number"]).with_rows(rows)
}

/// Waits until no connection is in use.
async fn eventually_idle(harness: &Harness<dyn Database>, database: &dyn Database, what: &str) -> Outcome {
    let idle = || async { database.pool_status().open == database.pool_status().idle };
    harness.eventually(SOON, what, idle).await
}

/// Rows come one by one; a stream that is dropped early gives its connection back.
pub async fn db_022_a_stream_gives_rows_as_they_come_and_its_connection_back(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    database
        .insert_many(batch(&items, 0..3_000))
        .await
        .premise("rows are inserted")?;
    let all = || Statement::new(format!("select id from {items} order by id"));
    let mut rows = database.fetch(all()).await?;
    for expected in 0..3_000_i64 {
        let row = rows.next().await.premise("a row")??;
        check_eq!(row.decode::<i64>()?, expected, "a row of the stream");
    }
    check!(rows.next().await.is_none(), "the stream did not end");
    drop(rows);
    for _ in 0..20 {
        let mut rows = database.fetch(all()).await?;
        rows.next().await.premise("a row")??;
    }
    eventually_idle(
        harness,
        &*database,
        "streams that were dropped early gave their connections back",
    )
    .await
}

/// When every connection is taken, a call waits for its time and then says so.
pub async fn db_023_an_exhausted_pool_is_a_timeout(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let mut taken = Vec::new();
    // Read-only, since some engines let only one write at a time.
    for _ in 0..database.pool_status().max {
        taken.push(
            database
                .begin(TransactionOptions::new().read_only())
                .await
                .premise("a transaction begins")?,
        );
    }
    let waiting = database.fetch_all(Statement::new("select 1"));
    let answer = harness
        .within(SOON * 4, "a call without a connection ends", waiting)
        .await?;
    let error = check_error!(
        answer,
        ErrorKind::Timeout,
        "a call while every connection is taken"
    );
    check!(
        error.had_no_effect(),
        "nothing was sent, and the error does not say so: {error:?}"
    );
    drop(taken);
    eventually_idle(harness, &*database, "connections came back").await
}

/// A call that is dropped while it waits for a lock, and one within a transaction, give their connections back; the database goes on.
pub async fn db_024_dropped_calls_give_their_connections_back(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    database
        .execute(insert(&items, 1, "ann", 1))
        .await
        .premise("a row is inserted")?;
    let update = || Statement::new(format!("update {items} set number = number + 1 where id = 1"));
    let mut holder = database
        .begin(TransactionOptions::new())
        .await
        .premise("a transaction begins")?;
    holder.execute(update()).await.premise("an update")?;
    for _ in 0..3 {
        let waiting = tokio::time::timeout(Duration::from_millis(30), database.execute(update())).await;
        waiting
            .is_err()
            .premise("an update waits for the row that a transaction holds")?;
    }
    holder.rollback().await.premise("a rollback")?;
    for _ in 0..3 {
        let mut transaction = database.begin(TransactionOptions::new()).await?;
        let mut call = transaction.execute(update());
        // Begun, and dropped wherever it was.
        let _ = futures_util::poll!(call.as_mut());
        drop(call);
    }
    eventually_idle(harness, &*database, "dropped calls gave their connections back").await?;
    database.execute(insert(&items, 2, "after", 1)).await?;
    Ok(())
}

/// Far more rows than one statement may have parameters are inserted, each once.
pub async fn db_025_many_rows_are_inserted_beyond_the_limits_of_one_statement(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    // PostgreSQL and MySQL take 65,535 parameters, SQLite 32,766; three for each row.
    let inserted = database.insert_many(batch(&items, 0..23_000)).await?;
    check_eq!(inserted.rows_affected, 23_000, "rows that the batch affected");
    let count: i64 = database
        .query_one(Statement::new(format!("select count(*) from {items}")))
        .await?;
    check_eq!(count, 23_000, "rows in the table");
    Ok(())
}

/// One row that exists refuses the whole batch.
pub async fn db_026_a_batch_is_inserted_whole_or_not_at_all(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    database
        .execute(insert(&items, 7, "seven", 7))
        .await
        .premise("a row is inserted")?;
    check_error!(
        database.insert_many(batch(&items, 1..10)).await,
        ErrorKind::AlreadyExists,
        "a batch with row 7"
    );
    check_eq!(
        numbers(&*database, &items).await?,
        [(7, 7)],
        "rows after a batch was refused"
    );
    Ok(())
}

/// Asked to skip what exists, it inserts the others and counts only them.
pub async fn db_027_a_batch_may_skip_what_exists(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    database
        .execute(insert(&items, 2, "two", 22))
        .await
        .premise("a row is inserted")?;
    let inserted = database.insert_many(batch(&items, 1..=3).skip_existing()).await?;
    check_eq!(inserted.rows_affected, 2, "rows that were not there");
    check_eq!(
        numbers(&*database, &items).await?,
        [(1, 1), (2, 22), (3, 3)],
        "rows after skipping what existed"
    );
    Ok(())
}

/// A batch whose names are not names, or whose rows have the wrong length, is refused.
pub async fn db_028_a_malformed_batch_is_refused_before_any_io(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let short = BatchInsert::new(items.clone(), ["id", "number"]).with_row([1_i64.into()]);
    let strange = BatchInsert::new(format!("{items}; drop table {items}"), ["id"]).with_row([1_i64.into()]);
    for (what, malformed) in [("a row that is too short", short), ("a strange name", strange)] {
        check_error!(
            database.insert_many(malformed).await,
            ErrorKind::InvalidArgument,
            "{what}"
        );
    }
    check!(
        numbers(&*database, &items).await?.is_empty(),
        "a malformed batch left a row"
    );
    Ok(())
}

/// After shutdown every call is refused with Closed, and a second shutdown is fine.
pub async fn db_029_a_database_that_was_shut_down_is_closed(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    database.shutdown(SOON).await?;
    database.shutdown(SOON).await?;
    let answer = database.fetch_all(Statement::new("select 1")).await;
    check_error!(answer, ErrorKind::Closed, "a statement after shutdown");
    let answer = database.begin(TransactionOptions::new()).await;
    check_error!(answer, ErrorKind::Closed, "a transaction after shutdown");
    Ok(())
}
