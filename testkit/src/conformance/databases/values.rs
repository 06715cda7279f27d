//! Values: there and back without loss.

use std::collections::BTreeMap;

use bytes::Bytes;
use infra_core::ErrorKind;
use infra_core::database::{Database, DatabaseExt, Statement, Value};
use rust_decimal::Decimal;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::{insert, table};
use crate::conformance::{Failure, Harness, Outcome, Premise, check, check_eq, check_error};

/// One value of each kind and the ends of their ranges, with the column type that each engine has for it.
fn samples() -> Result<Vec<(&'static str, Value)>, Failure> {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(1_735_689_600_123_456_000);
    let day = Date::from_calendar_date(2024, time::Month::February, 29);
    let mut samples: Vec<(&'static str, Value)> = vec![
        ("boolean", true.into()),
        ("boolean", false.into()),
        ("float", (-0.1_f64).into()),
        ("float", f64::MIN_POSITIVE.into()),
        ("text", "".into()),
        ("text", "零 👩‍👩‍👧 \u{301} \" ' \\ %".into()),
        ("bytes", Bytes::from_static(b"\0\xff\x80' --").into()),
        ("bytes", Bytes::new().into()),
        (
            "uuid",
            Uuid::from_u128(0x018f_4e5c_6a1b_7c3d_8e9f_0123_4567_89ab).into(),
        ),
        (
            "json",
            serde_json::json!({ "a": [1, null, "ü"], "b": { "?": ":c" } }).into(),
        ),
        ("decimal", Decimal::new(-123_456_789_012_345, 4).into()),
        ("date", day.ok().premise("a leap day")?.into()),
        ("timestamp", moment.ok().premise("a moment")?.into()),
    ];
    samples.extend([i64::MIN, -1, 0, i64::MAX].map(|number| ("integer", number.into())));
    for kind in [
        "boolean",
        "integer",
        "float",
        "text",
        "bytes",
        "uuid",
        "json",
        "decimal",
        "date",
        "timestamp",
    ] {
        samples.push((kind, Value::Null));
    }
    Ok(samples)
}

/// The column type for a kind of value: the one thing in which the engines' words differ.
fn column(backend: &str, kind: &'static str) -> &'static str {
    let types = BTreeMap::from([
        ("boolean", ["boolean", "boolean", "boolean"]),
        ("integer", ["bigint", "bigint", "bigint"]),
        (
            "float",
            ["double precision", "double precision", "double precision"],
        ),
        ("text", ["text", "text", "text character set utf8mb4"]),
        ("bytes", ["blob", "bytea", "blob"]),
        ("uuid", ["blob", "uuid", "binary(16)"]),
        ("json", ["text", "jsonb", "json"]),
        ("decimal", ["text", "numeric", "decimal(30, 10)"]),
        ("date", ["text", "date", "date"]),
        ("timestamp", ["text", "timestamptz", "timestamp(6)"]),
    ]);
    let engine = match backend {
        "postgres" => 1,
        "mysql" => 2,
        _ => 0,
    };
    types.get(kind).map_or("text", |types| types[engine])
}

/// Every kind of value, `NULL` included, comes back as it was, or is refused with a clear error: never changed in silence.
pub async fn db_011_every_kind_of_value_round_trips_or_is_refused(
    harness: &Harness<dyn Database>,
) -> Outcome {
    let database = harness.client().await?;
    let mut refused = Vec::new();
    for (index, (kind, value)) in samples()?.into_iter().enumerate() {
        let name = harness.name(&format!("value{index}"));
        let create = format!("create table {name} (v {})", column(database.backend(), kind));
        database
            .execute(Statement::new(create))
            .await
            .premise("a table is created")?;
        let write = Statement::new(format!("insert into {name} (v) values (:v)")).bind("v", value.clone());
        match database.execute(write).await {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Unsupported) => {
                refused.push(kind);
                continue;
            }
            Err(error) => {
                return Err(error
                    .context(format_args!("writing sample {index}, {kind}"))
                    .into());
            }
        }
        let rows = database
            .fetch_all(Statement::new(format!("select v from {name}")))
            .await?;
        let back = rows.first().and_then(|row| row.get("v")).cloned();
        check!(
            back.as_ref().is_some_and(|back| same(&value, back)),
            "sample {index}, {kind}, came back as {back:?}"
        );
    }
    check!(refused.len() < 4, "these kinds are refused: {refused:?}");
    Ok(())
}

/// Whether a value is what was written. An engine without a type of its own for it may give its text or number back.
fn same(written: &Value, back: &Value) -> bool {
    if written == back {
        return true;
    }
    match (written, back) {
        (Value::Boolean(yes), Value::Integer(number)) => *number == i64::from(*yes),
        (Value::Decimal(decimal), Value::Decimal(other)) => decimal == other,
        (Value::Decimal(decimal), Value::Text(text)) => text.parse() == Ok(*decimal),
        (Value::Uuid(uuid), Value::Bytes(bytes)) => bytes.as_ref() == uuid.as_bytes(),
        (Value::Uuid(uuid), Value::Text(text)) => text.parse() == Ok(*uuid),
        (Value::Json(document), Value::Text(text)) => {
            serde_json::from_str(text).is_ok_and(|other: serde_json::Value| other == *document)
        }
        (Value::Date(_) | Value::Timestamp(_), Value::Text(text)) => decoded_moment(written, text),
        _ => false,
    }
}

/// Engines without dates keep them as ISO 8601 text, which sorts as the dates do.
fn decoded_moment(written: &Value, text: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    match written {
        Value::Date(date) => digits(text) == digits(&date.to_string()),
        Value::Timestamp(moment) => {
            let seconds = format!(
                "{:04}{:02}{:02}",
                moment.year(),
                u8::from(moment.month()),
                moment.day()
            );
            digits(text).starts_with(&seconds) && text.contains("123456")
        }
        _ => false,
    }
}

/// A column that is not of the wanted type is corrupted data, with its name and its place, but not its value.
pub async fn db_012_a_column_that_does_not_fit_is_named(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    database
        .execute(insert(&items, 1, "not-a-number", 1))
        .await
        .premise("a row is inserted")?;
    let answer = database
        .query_as::<Named>(Statement::new(format!("select name from {items}")))
        .await;
    let error = check_error!(answer, ErrorKind::DataCorrupted, "text where a number is wanted");
    check!(
        error.to_string().contains("name"),
        "the column `name` is not named: {error}"
    );
    check!(
        !error.to_string().contains("not-a-number"),
        "the value is shown: {error}"
    );
    Ok(())
}

#[derive(Debug, serde::Deserialize)]
struct Named {
    #[allow(dead_code, reason = "it is there to be decoded")]
    name: i64,
}

/// No error shows the value of a parameter, neither to people nor to programmers.
pub async fn db_013_errors_show_no_values(harness: &Harness<dyn Database>) -> Outcome {
    let database = harness.client().await?;
    let items = table(harness, &*database).await?;
    let secret = "hunter2-is-a-password";
    database
        .execute(insert(&items, 1, secret, 1))
        .await
        .premise("a row is inserted")?;
    let broken = Statement::new(format!(
        "select number from {items} where name = :name and nonsense = 1"
    ));
    let errors = [
        database.execute(insert(&items, 2, secret, 1)).await.err(),
        database.fetch_all(broken.bind("name", secret)).await.err(),
    ];
    for error in errors.into_iter().flatten() {
        let shown = format!("{error} {error:?}");
        check_eq!(
            shown.contains(secret),
            false,
            "whether an error shows the value of a parameter: {shown}"
        );
    }
    Ok(())
}
