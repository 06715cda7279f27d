//! Reads over every shard.

use infra_core::ErrorKind;
use infra_core::database::{Database, Row, Scatter, Statement};

use super::{Tables, insert, tables};
use crate::conformance::{Failure, Harness, Outcome, Premise, check_eq, check_error};

/// Forty rows over all shards; the number of a row falls as its id grows.
async fn filled(harness: &Harness<dyn Database>, database: &dyn Database) -> Result<Tables, Failure> {
    let tables = tables(harness, database).await?;
    for id in 1..=40_i64 {
        let row = insert(&tables.messages, id, &id.to_string(), 100 - id);
        database.execute(row).await.premise("a row is inserted")?;
    }
    Ok(tables)
}

fn ids(rows: Vec<Row>) -> Result<Vec<i64>, Failure> {
    Ok(rows
        .into_iter()
        .map(Row::decode)
        .collect::<infra_core::Result<_>>()?)
}

/// Rows of all shards come merged in the order that was asked for, each once.
pub async fn shard_009_a_scattered_read_sees_every_shard_in_order(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let tables = filled(harness, &*database).await?;
    let by = |direction: &str| {
        Statement::new(format!(
            "select id from {} order by id {direction}",
            tables.messages
        ))
    };
    let up = ids(database.scatter(Scatter::new(by("asc")).order_by("id")).await?)?;
    check_eq!(up, (1..=40).collect::<Vec<_>>(), "all ids, smallest first");
    let down = ids(database
        .scatter(Scatter::new(by("desc")).order_by_descending("id"))
        .await?)?;
    check_eq!(
        down,
        (1..=40).rev().collect::<Vec<_>>(),
        "all ids, greatest first"
    );
    Ok(())
}

/// A limit holds for the whole and keeps the first of all shards, not of one.
pub async fn shard_010_a_scattered_read_ends_at_its_limit(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = filled(harness, &*database).await?;
    let text = format!("select id from {} order by id desc limit 5", tables.messages);
    let newest = Scatter::new(Statement::new(text))
        .order_by_descending("id")
        .limit(5);
    check_eq!(
        ids(database.scatter(newest).await?)?,
        [40, 39, 38, 37, 36],
        "the five greatest ids"
    );
    Ok(())
}

/// A write is not spread over all shards by way of a read.
pub async fn shard_011_a_scattered_write_is_refused(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let tables = filled(harness, &*database).await?;
    let text = format!("delete from {}", tables.messages);
    let answer = database.scatter(Scatter::new(Statement::new(text))).await;
    check_error!(answer, ErrorKind::InvalidArgument, "a delete over all shards");
    let all = Scatter::new(Statement::new(format!("select id from {}", tables.messages)));
    let left = database.scatter(all).await.premise("all shards are read")?.len();
    check_eq!(left, 40, "rows after a delete that was refused");
    Ok(())
}

/// Before a table is sharded, the same code reads it where it is.
pub async fn shard_012_a_scattered_read_of_a_table_that_is_not_sharded_reads_it(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let tables = tables(harness, &*database).await?;
    for id in [2, 1] {
        let text = format!("insert into {} (id, name) values ({id}, 'x')", tables.users);
        database
            .execute(Statement::new(text))
            .await
            .premise("a row is inserted")?;
    }
    let all = Scatter::new(Statement::new(format!(
        "select id from {} order by id",
        tables.users
    )))
    .order_by("id");
    check_eq!(
        ids(database.scatter(all).await?)?,
        [1, 2],
        "rows of a table that is not sharded"
    );
    Ok(())
}
