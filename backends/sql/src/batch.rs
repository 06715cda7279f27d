//! Many rows for one table: grouped by shard, split at the engine's limit, in one transaction for each database.

use std::collections::BTreeMap;
use std::time::Duration;

use infra_core::database::{BatchInsert, Executed, Existing, ShardKey, ShardingConfig, Value};
use infra_core::{Error, Result};

use crate::database::Shared;
use crate::dialect::Dialect;
use crate::observe::Observation;
use crate::router::Router;
use crate::sqlite::{Connection, TransactionKind, Want};
use crate::statement::Bound;

/// More rows in one statement gain nothing, and full statements of one length are prepared once.
const ROWS_PER_STATEMENT: usize = 500;

/// One statement of a batch.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) database: usize,
    bound: Bound,
    summary: String,
}

/// Inserts the rows, in one transaction for each database.
pub(crate) async fn insert(shared: &Shared, batch: BatchInsert) -> Result<Executed> {
    shared.check_open()?;
    let mut by_database: BTreeMap<usize, Vec<Chunk>> = BTreeMap::new();
    for chunk in chunks(&shared.router, batch)? {
        by_database.entry(chunk.database).or_default().push(chunk);
    }
    let mut rows_affected = 0;
    for (database, chunks) in by_database {
        let mut connection = shared.pool(database)?.connection(true).await?;
        if chunks.len() > 1 {
            connection.begin(TransactionKind::Writing).await?;
            rows_affected += run(&mut connection, chunks, shared.config.slow_query).await?;
            connection.commit().await?;
        } else {
            rows_affected += run(&mut connection, chunks, shared.config.slow_query).await?;
        }
    }
    Ok(Executed::new(rows_affected))
}

/// Runs the statements one after the other; the number of rows inserted.
pub(crate) async fn run(connection: &mut Connection, chunks: Vec<Chunk>, slow: Duration) -> Result<u64> {
    let mut rows_affected = 0;
    for chunk in chunks {
        let observation = Observation::begin(&chunk.summary, slow);
        let result = connection.run(chunk.bound, Want::Count).await;
        observation.end(&result);
        rows_affected += result?.rows_affected;
    }
    Ok(rows_affected)
}

/// Writes the statements, without I/O.
pub(crate) fn chunks(router: &Router, batch: BatchInsert) -> Result<Vec<Chunk>> {
    batch.check()?;
    let dialect = &Dialect::SQLITE;
    let rows_per_statement = (dialect.max_parameters / batch.columns.len()).min(ROWS_PER_STATEMENT);
    if rows_per_statement == 0 {
        return Err(Error::invalid_argument(format!(
            "the batch insert into {:?} has {} columns, more than the {} parameters that {} takes",
            batch.table,
            batch.columns.len(),
            dialect.max_parameters,
            dialect.name
        )));
    }
    let summary = format!(
        "insert into {} ({}) values …",
        batch.table,
        batch.columns.join(", ")
    );
    let BatchInsert {
        table,
        columns,
        rows,
        existing,
        ..
    } = batch;
    let mut chunks = Vec::new();
    for (shard, rows) in grouped(router, &table, &columns, rows)? {
        let physical = match (shard, router.sharded(&table)) {
            (Some(shard), Some((logical, _, shards))) => {
                format!("{logical}{}", ShardingConfig::suffix(shard, shards))
            }
            _ => table.to_string(),
        };
        let database = shard.map_or(0, |shard| router.database_of(shard));
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            chunks.push(Chunk {
                database,
                bound: write(
                    &physical,
                    &columns,
                    rows.by_ref().take(rows_per_statement),
                    existing,
                    dialect,
                ),
                summary: summary.clone(),
            });
        }
    }
    Ok(chunks)
}

type Rows = Vec<Vec<Value>>;

/// The rows of each shard, in their order; under `None` when the table is not sharded.
fn grouped(
    router: &Router,
    table: &str,
    columns: &[std::borrow::Cow<'static, str>],
    rows: Rows,
) -> Result<BTreeMap<Option<u32>, Rows>> {
    let mut groups: BTreeMap<Option<u32>, Rows> = BTreeMap::new();
    let Some((_, key, shards)) = router.sharded(table) else {
        groups.insert(None, rows);
        return Ok(groups);
    };
    let position = columns
        .iter()
        .position(|column| column.eq_ignore_ascii_case(key))
        .ok_or_else(|| {
            Error::invalid_argument(format!(
                "{table:?} is sharded by {key:?}, which is not among the columns of the batch; add it"
            ))
        })?;
    for (index, row) in rows.into_iter().enumerate() {
        let shard = row
            .get(position)
            .map_or_else(
                || Err(Error::invalid_argument("the row has no shard key")),
                ShardKey::of_value,
            )
            .map_err(|error| error.context(format_args!("row {index} of the batch insert into {table:?}")))?
            .shard(shards);
        groups.entry(Some(shard)).or_default().push(row);
    }
    Ok(groups)
}

fn write(
    table: &str,
    columns: &[std::borrow::Cow<'static, str>],
    rows: impl Iterator<Item = Vec<Value>>,
    existing: Existing,
    dialect: &Dialect,
) -> Bound {
    let mut text = "insert into ".to_owned();
    dialect.push_name(&mut text, table);
    for (index, column) in columns.iter().enumerate() {
        text.push_str(if index == 0 { " (" } else { ", " });
        dialect.push_name(&mut text, column);
    }
    text.push_str(") values ");
    let mut values = Vec::new();
    for (row_index, row) in rows.enumerate() {
        text.push_str(if row_index == 0 { "(" } else { ", (" });
        for (index, value) in row.into_iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            values.push(value);
            dialect.push_placeholder(&mut text, values.len());
        }
        text.push(')');
    }
    if existing == Existing::Skip {
        text.push_str(dialect.skip_existing);
    }
    Bound {
        text: text.into(),
        values,
    }
}

#[cfg(test)]
mod tests {
    use infra_core::ErrorKind;
    use infra_core::database::TableSharding;

    use super::*;

    fn router() -> Router {
        let sharding = ShardingConfig::new("session", 4).with_table("messages", TableSharding::default());
        Router::new(Some(sharding), 2)
    }

    fn rows(count: i64) -> impl Iterator<Item = Vec<Value>> {
        (0..count).map(|id| vec![id.into(), (id % 3).into()])
    }

    #[test]
    fn groups_by_shard_and_splits_at_the_limit() {
        let batch = BatchInsert::new("messages", ["id", "session"]).with_rows(rows(3001));
        let chunks = chunks(&router(), batch).expect("planned");
        let sizes: Vec<_> = chunks
            .iter()
            .map(|chunk| (chunk.database, chunk.bound.values.len() / 2))
            .collect();
        assert_eq!(
            sizes,
            [(0, 500), (0, 500), (0, 1), (1, 500), (1, 500), (0, 500), (0, 500)]
        );
        let small = BatchInsert::new("Messages", ["id", "session"])
            .with_rows(rows(2))
            .skip_existing();
        let chunks = super::chunks(&router(), small).expect("planned");
        assert_eq!(
            &*chunks[1].bound.text,
            "insert into \"messages_01\" (\"id\", \"session\") values (?, ?) on conflict do nothing"
        );
    }

    #[test]
    fn respects_the_engines_parameters_with_wide_rows() {
        let columns: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
        let wide = BatchInsert::new("t", columns).with_rows((0..400).map(|_| vec![Value::Null; 200]));
        let chunks = chunks(&router(), wide).expect("planned");
        assert!(
            chunks
                .iter()
                .all(|chunk| chunk.bound.values.len() <= Dialect::SQLITE.max_parameters)
        );
        assert_eq!(chunks.len(), 3);
        let too_wide = BatchInsert::new("t", (0..40_000).map(|n| format!("c{n}")));
        assert_eq!(
            super::chunks(&router(), too_wide).expect_err("too wide").kind(),
            ErrorKind::InvalidArgument
        );
    }

    #[test]
    fn refuses_rows_that_cannot_be_routed() {
        for (batch, part) in [
            (
                BatchInsert::new("messages", ["id"]).with_row([1.into()]),
                "add it",
            ),
            (
                BatchInsert::new("messages", ["session"]).with_row([Value::Null]),
                "row 0",
            ),
            (BatchInsert::new("messages; --", ["id"]), "name"),
            (BatchInsert::new("t", ["id\""]), "name"),
            (BatchInsert::new("t", ["id"]).with_row([]), "0 values"),
        ] {
            let error = chunks(&router(), batch).expect_err(part);
            assert!(error.message().contains(part), "{error}");
        }
        assert!(
            chunks(&router(), BatchInsert::new("t", ["id"]))
                .expect("nothing to do")
                .is_empty()
        );
    }
}
