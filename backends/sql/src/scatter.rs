//! One read over every shard: run everywhere, merged by order, limited.

use std::cmp::Ordering;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use infra_core::database::{Row, Scatter, Value};
use infra_core::{Error, Result};

use crate::database::{Routed, Shared};
use crate::dialect::Dialect;
use crate::observe::Observation;
use crate::sqlite::{Outcome, Want};
use crate::statement::bind;

pub(crate) async fn scatter(shared: &Shared, scatter: Scatter) -> Result<Vec<Row>> {
    shared.check_open()?;
    let parsed = shared.parse(scatter.statement.text())?;
    if !parsed.only_reads() {
        return Err(Error::invalid_argument(
            "scatter reads; a statement that writes belongs on one shard: give its key",
        ));
    }
    if parsed.tables().len() > 1 {
        return Err(Error::invalid_argument(format!(
            "scatter reads the shards of one table, and the statement names {:?}",
            parsed.tables()
        )));
    }
    let shards = shared.router.shards(&parsed)?;
    let targets: Vec<Option<u32>> = match shards {
        Some(shards) => (0..shards).map(Some).collect(),
        // Without sharding there is one place to read, and the same code works.
        None => vec![None],
    };
    let mut reads = Vec::with_capacity(targets.len());
    for shard in targets {
        let database = shard.map_or(0, |shard| shared.router.database_of(shard));
        reads.push(Routed {
            parsed: Arc::clone(&parsed),
            bound: bind(
                &parsed,
                scatter.statement.parameters(),
                &Dialect::SQLITE,
                shard,
                || shared.router.physical(&parsed, shard),
            )?,
            database,
            pool: Arc::clone(shared.pool(database)?),
        });
    }
    let outcomes: Vec<Outcome> = stream::iter(reads)
        .map(|routed| read(shared, routed))
        .buffered(shared.config.scatter_concurrency)
        .try_collect()
        .await?;
    let columns = outcomes.iter().find_map(|outcome| outcome.columns.clone());
    let rows = outcomes.into_iter().flat_map(|outcome| outcome.rows).collect();
    merge(rows, columns.as_deref().unwrap_or_default(), &scatter)
}

async fn read(shared: &Shared, routed: Routed) -> Result<Outcome> {
    let parsed = Arc::clone(&routed.parsed);
    let observation = Observation::begin(parsed.summary(), shared.config.slow_query);
    let result = shared.run(routed, Want::All).await;
    observation.end(&result);
    result
}

/// Sorts by the order columns and cuts at the limit.
fn merge(mut rows: Vec<Row>, columns: &[String], scatter: &Scatter) -> Result<Vec<Row>> {
    let mut order = Vec::with_capacity(scatter.order.len());
    for (column, descending) in &scatter.order {
        let position = columns.iter().position(|name| name == column).ok_or_else(|| {
            Error::invalid_argument(format!(
                "scatter is to merge by {column:?}, which is not among the result's columns {columns:?}; select it"
            ))
        })?;
        order.push((position, *descending));
    }
    if !order.is_empty() {
        rows.sort_by(|left, right| {
            order
                .iter()
                .map(|(position, descending)| {
                    let ordering = match (left.values().get(*position), right.values().get(*position)) {
                        (Some(left), Some(right)) => compare(left, right),
                        _ => Ordering::Equal,
                    };
                    if *descending { ordering.reverse() } else { ordering }
                })
                .find(|ordering| ordering.is_ne())
                .unwrap_or(Ordering::Equal)
        });
    }
    if let Some(limit) = scatter.limit {
        rows.truncate(limit);
    }
    Ok(rows)
}

/// Orders values as SQLite does: null, numbers, text, bytes.
fn compare(left: &Value, right: &Value) -> Ordering {
    rank(left).cmp(&rank(right)).then_with(|| match (left, right) {
        (Value::Boolean(left), Value::Boolean(right)) => left.cmp(right),
        (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
        (Value::Float(left), Value::Float(right)) => left.total_cmp(right),
        (Value::Integer(left), Value::Float(right)) => integer_to_float(*left, *right),
        (Value::Float(left), Value::Integer(right)) => integer_to_float(*right, *left).reverse(),
        (Value::Decimal(left), Value::Decimal(right)) => left.cmp(right),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        (Value::Uuid(left), Value::Uuid(right)) => left.cmp(right),
        (Value::Date(left), Value::Date(right)) => left.cmp(right),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
        (Value::Json(left), Value::Json(right)) => left.to_string().cmp(&right.to_string()),
        _ => Ordering::Equal,
    })
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Boolean(_) => 1,
        Value::Integer(_) | Value::Float(_) => 2,
        Value::Decimal(_) => 3,
        Value::Text(_) => 4,
        Value::Date(_) => 5,
        Value::Timestamp(_) => 6,
        Value::Uuid(_) => 7,
        Value::Json(_) => 8,
        _ => 9,
    }
}

/// Compares without rounding the integer, which may need more bits than a double has.
fn integer_to_float(integer: i64, float: f64) -> Ordering {
    // 2^63, which a double holds exactly.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() || float < -BEYOND {
        return Ordering::Greater;
    }
    if float >= BEYOND {
        return Ordering::Less;
    }
    // In range, so that the conversion only cuts the fraction.
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    let whole = float.trunc() as i64;
    integer
        .cmp(&whole)
        .then_with(|| 0.0_f64.total_cmp(&(float.fract() + 0.0)))
}

#[cfg(test)]
mod tests {
    use infra_core::ErrorKind;
    use infra_core::database::Statement;

    use super::*;

    fn columns() -> Vec<String> {
        vec!["id".to_owned(), "name".to_owned()]
    }

    fn row(id: impl Into<Value>, name: &str) -> Row {
        Row::new(columns().into(), vec![id.into(), name.into()]).expect("two of each")
    }

    #[test]
    fn merges_by_several_columns_and_limits() {
        let rows = vec![row(2, "a"), row(1, "b"), row(2, "c"), row(Value::Null, "d")];
        let wanted = Scatter::new(Statement::new("select 1"))
            .order_by_descending("id")
            .order_by("name")
            .limit(3);
        let merged = merge(rows, &columns(), &wanted).expect("columns exist");
        let names: Vec<_> = merged.iter().map(|row| row.get("name").cloned()).collect();
        assert_eq!(names, ["a", "c", "b"].map(|name| Some(Value::from(name))));
    }

    #[test]
    fn refuses_an_order_column_that_is_not_selected() {
        let wanted = Scatter::new(Statement::new("select 1")).order_by("age");
        let error = merge(Vec::new(), &columns(), &wanted).expect_err("no such column");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("\"age\""));
    }

    #[test]
    fn numbers_compare_without_rounding() {
        for (left, right, expected) in [
            (
                Value::Integer(i64::MAX),
                Value::Float(9_223_372_036_854_775_808.0),
                Ordering::Less,
            ),
            (
                Value::Integer(i64::MIN),
                Value::Float(-9_223_372_036_854_775_808.0),
                Ordering::Equal,
            ),
            (Value::Integer(1), Value::Float(1.5), Ordering::Less),
            (Value::Integer(-1), Value::Float(-1.5), Ordering::Greater),
            (Value::Float(0.0), Value::Integer(0), Ordering::Equal),
            (Value::Null, Value::Integer(i64::MIN), Ordering::Less),
            (Value::Text("a".into()), Value::Integer(9), Ordering::Greater),
        ] {
            assert_eq!(compare(&left, &right), expected);
        }
    }
}
