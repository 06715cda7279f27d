//! Which shard a row is on.

use std::collections::BTreeSet;

use infra_core::ErrorKind;
use infra_core::database::{
    BatchInsert, Database, DatabaseExt, Scatter, ShardKey, Statement, TransactionOptions, Value,
};

use super::{SESSIONS, insert, tables};
use crate::conformance::{Harness, Outcome, Premise, check, check_eq, check_error};

/// What is written under a key is read under it, whatever the key looks like.
pub async fn shard_001_rows_come_back_by_their_key(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    for (id, session) in (1..).zip(SESSIONS) {
        database
            .execute(insert(&tables.messages, id, session, id))
            .await?;
    }
    for (id, session) in (1..).zip(SESSIONS) {
        let text = format!(
            "select id from {} where session_id = :session_id",
            tables.messages
        );
        let found: Vec<i64> = database
            .query_as(Statement::new(text).bind("session_id", session))
            .await?;
        check_eq!(found, [id], "the rows of session {session:?}");
    }
    Ok(())
}

/// A row is where the routing says: another key of the same shard leads to the same place, one of another shard does not.
pub async fn shard_002_a_row_is_on_one_shard_and_no_other(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    database
        .execute(insert(&tables.messages, 1, "5", 1))
        .await
        .premise("a row is inserted")?;
    let text = format!("select id from {}", tables.messages);
    for number in 0..16_i64 {
        let all = Statement::new(text.clone()).shard_key(number);
        let found: Vec<i64> = database.query_as(all).await?;
        let here = ShardKey::from(number).shard(8) == ShardKey::from("5").shard(8);
        check_eq!(
            !found.is_empty(),
            here,
            "whether the row of session 5 is on the shard of {number}"
        );
    }
    Ok(())
}

/// Reading, changing and deleting without the shard key is refused before anything is sent.
pub async fn shard_003_a_statement_without_its_key_is_refused(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    for text in [
        format!("select * from {}", tables.messages),
        format!("delete from {} where id = 1", tables.messages),
        format!("update {} set number = 1", tables.messages),
        format!(
            "select * from {} m join {} u on u.id = m.id",
            tables.messages, tables.users
        ),
    ] {
        let answer = database.fetch_all(Statement::new(text.clone())).await;
        check_error!(answer, ErrorKind::InvalidArgument, "{text:?}");
    }
    Ok(())
}

/// A table with a key and a number of shards of its own is routed by them.
pub async fn shard_004_the_settings_of_a_table_are_honoured(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    let text = format!("insert into {} (id, owner) values (:id, :owner)", tables.archive);
    let row = Statement::new(text).bind("id", 1_i64).bind("owner", "4");
    database.execute(row).await?;
    let by_shard =
        |number: i64| Statement::new(format!("select id from {}", tables.archive)).shard_key(number);
    // Of 3 shards, 4 is on that of 1; of 8 it would be on one of its own.
    let found: Vec<i64> = database.query_as(by_shard(1)).await?;
    check_eq!(found, [1], "rows on the shard of 1, of 3");
    Ok(())
}

/// A transaction is of one database: its own shards it sees, a statement for another is refused and nothing is sent.
pub async fn shard_005_a_transaction_sees_its_database_and_refuses_others(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    let options = TransactionOptions::new().on_shard(tables.messages.clone(), 0_i64);
    let mut transaction = database.begin(options).await?;
    transaction.execute(insert(&tables.messages, 1, "0", 1)).await?;
    let mut refused = 0;
    for (id, session) in (2..).zip(["1", "2", "3", "4", "5", "6", "7"]) {
        match transaction
            .execute(insert(&tables.messages, id, session, 1))
            .await
        {
            Ok(_) => {}
            Err(error) => {
                check_eq!(
                    error.kind(),
                    ErrorKind::InvalidArgument,
                    "the kind of the refusal of another database"
                );
                refused += 1;
            }
        }
    }
    check!(
        refused > 0,
        "a transaction wrote to all 8 shards, which are spread over several databases"
    );
    transaction.commit().await.premise("a commit")?;
    Ok(())
}

/// A table that is not sharded is written and read without a key.
pub async fn shard_006_tables_that_are_not_sharded_work_beside(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    let text = format!("insert into {} (id, name) values (1, 'ann')", tables.users);
    database.execute(Statement::new(text)).await?;
    let found: Vec<String> = database
        .query_as(Statement::new(format!("select name from {}", tables.users)))
        .await?;
    check_eq!(found, ["ann"], "rows of a table that is not sharded");
    Ok(())
}

/// The rows of a batch go each to the shard of its key.
pub async fn shard_007_a_batch_is_spread_over_the_shards(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    let rows = (1..)
        .zip(SESSIONS)
        .map(|(id, session)| vec![Value::from(id as i64), Value::from(session)]);
    let batch = BatchInsert::new(tables.messages.clone(), ["id", "session_id"]).with_rows(rows);
    let inserted = database.insert_many(batch).await?;
    check_eq!(inserted.rows_affected, SESSIONS.len() as u64, "rows of the batch");
    for session in SESSIONS {
        let text = format!(
            "select session_id from {} where session_id = :session_id",
            tables.messages
        );
        let found: Vec<String> = database
            .query_as(Statement::new(text).bind("session_id", session))
            .await?;
        check_eq!(
            found,
            [session],
            "the row of session {session:?}, inserted in a batch"
        );
    }
    Ok(())
}

/// A batch for a sharded table must tell the key of each row.
pub async fn shard_008_a_batch_without_the_key_is_refused(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    let batch = BatchInsert::new(tables.messages.clone(), ["id", "number"]);
    let batch = batch
        .with_row([1_i64.into(), 1_i64.into()])
        .with_row([2_i64.into(), 2_i64.into()]);
    check_error!(
        database.insert_many(batch).await,
        ErrorKind::InvalidArgument,
        "a batch without the shard key"
    );
    let all = Scatter::new(Statement::new(format!("select id from {}", tables.messages)));
    let left: BTreeSet<String> = database
        .scatter(all)
        .await
        .premise("all shards are read")?
        .iter()
        .map(|row| format!("{row:?}"))
        .collect();
    check!(
        left.is_empty(),
        "a batch that was refused left {} rows",
        left.len()
    );
    Ok(())
}
