//! Statements, values and errors on a real SQLite.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use futures_util::TryStreamExt as _;
use infra_core::capability::Capability;
use infra_core::config::{BackendUrl, Profile};
use infra_core::database::{Database, DatabaseExt, Statement, Value};
use infra_core::{Backend, ErrorKind};
use infra_sql::{SqlConfig, SqlDatabase};
use rust_decimal::Decimal;
use time::macros::{date, datetime};
use uuid::Uuid;

use support::{eventually_idle, memory};

#[tokio::test]
async fn executes_and_fetches_with_both_kinds_of_parameters() {
    let database = memory().await;
    database
        .execute("create table t (id bigint primary key, name text)".into())
        .await
        .expect("created");
    for id in [i64::MIN, 0, i64::MAX] {
        let insert = Statement::new("insert into t (id, name) values (:id, :name)")
            .bind("id", id)
            .bind("name", format!("名前 {id}"));
        assert_eq!(database.execute(insert).await.expect("inserted").rows_affected, 1);
    }
    let both: Vec<(i64, String)> = database
        .query_as(
            Statement::new("select id, name from t where id in (:ids) and ':ids' <> '?' order by id")
                .bind_list("ids", [i64::MIN, i64::MAX]),
        )
        .await
        .expect("read");
    assert_eq!(both[0], (i64::MIN, format!("名前 {}", i64::MIN)));
    assert_eq!(both.len(), 2);
    let none: [i64; 0] = [];
    let count = |condition: &str| Statement::new(format!("select count(*) from t where id {condition}"));
    let matched: i64 = database
        .query_one(count("in (:ids)").bind_list("ids", none))
        .await
        .expect("counted");
    let others: i64 = database
        .query_one(count("not in (:ids)").bind_list("ids", none))
        .await
        .expect("counted");
    assert_eq!((matched, others), (0, 3));
    let absent = database
        .fetch_optional(Statement::new("select 1 from t where id = ?").bind_next(5))
        .await
        .expect("read");
    assert_eq!(absent, None);
    let returned: Option<(i64, String)> = database
        .query_optional(
            Statement::new("update t set name = ? where id = 0 returning id, name").bind_next("new"),
        )
        .await
        .expect("updated");
    assert_eq!(returned, Some((0, "new".to_owned())));
}

#[tokio::test]
async fn every_kind_of_value_round_trips_through_its_column() {
    let database = memory().await;
    database
        .execute(
            "create table v (a boolean, b bigint, c double precision, d decimal text, e text, f blob, g uuid, h json, i date, j timestamp)"
                .into(),
        )
        .await
        .expect("created");
    let json = serde_json::json!({"list": [1, 2.5, null], "text": "ü"});
    let values = [
        vec![
            Value::Boolean(true),
            Value::Integer(i64::MIN),
            Value::Float(f64::MIN_POSITIVE),
            Value::Decimal(Decimal::MAX),
            Value::Text("a\0b 🦀 '; drop table v; --".to_owned()),
            Value::Bytes(vec![0, 255, 1].into()),
            Value::Uuid(Uuid::from_u128(u128::MAX - 7)),
            Value::Json(json),
            Value::Date(date!(0000 - 01 - 01)),
            Value::Timestamp(datetime!(2024-02-29 23:59:59.123456789 +05:30)),
        ],
        vec![
            Value::Boolean(false),
            Value::Integer(i64::MAX),
            Value::Float(f64::INFINITY),
            Value::Decimal(Decimal::from_str_exact("-0.1000000000000000000000000001").expect("exact")),
            Value::Text(String::new()),
            Value::Bytes(Vec::new().into()),
            Value::Uuid(Uuid::nil()),
            Value::Json(serde_json::json!(7)),
            Value::Date(date!(9999 - 12 - 31)),
            Value::Timestamp(datetime!(0000-01-01 0:00 UTC)),
        ],
        vec![Value::Null; 10],
    ];
    for row in &values {
        let insert = row.iter().cloned().fold(
            Statement::new("insert into v values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"),
            Statement::bind_next,
        );
        database.execute(insert).await.expect("inserted");
    }
    let rows = database
        .fetch_all("select * from v order by rowid".into())
        .await
        .expect("read");
    for (row, expected) in rows.iter().zip(&values) {
        for ((column, found), expected) in row.columns().iter().zip(row.values()).zip(expected) {
            assert!(
                found == expected,
                "column {column}: {found:?} instead of {expected:?}"
            );
        }
    }
    assert_eq!(rows.len(), 3);
    let sorted: Vec<(Option<i64>,)> = database
        .query_as("select b from v order by j".into())
        .await
        .expect("sorted");
    assert_eq!(
        sorted,
        [(None,), (Some(i64::MAX),), (Some(i64::MIN),)],
        "moments sort as text"
    );
}

#[tokio::test]
async fn refuses_values_that_sqlite_would_change() {
    let database = memory().await;
    for (value, part) in [
        (Value::Float(f64::NAN), "null"),
        (Value::Json(serde_json::json!(u64::MAX)), "64-bit"),
        (Value::Date(date!(-0001 - 01 - 01)), "years"),
        (Value::Timestamp(datetime!(-0001-01-01 0:00 UTC)), "years"),
    ] {
        let error = database
            .fetch_all(Statement::new("select ?").bind_next(value))
            .await
            .expect_err(part);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(part), "{error}");
    }
    database
        .execute("create table d (price numeric(10, 2), at timestamp, id uuid)".into())
        .await
        .expect("created");
    for (column, value) in [("price", "0.1"), ("at", "yesterday"), ("id", "secret-value")] {
        let insert = format!("insert into d ({column}) values (?)");
        database
            .execute(Statement::new(insert).bind_next(value))
            .await
            .expect("inserted");
        let read = Statement::new(format!("select {column} from d where {column} is not null"));
        let error = database.fetch_all(read).await.expect_err(column);
        assert_eq!(error.kind(), ErrorKind::DataCorrupted);
        assert!(
            error.message().contains(column) && !format!("{error:?}").contains("secret-value"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn errors_have_the_contracts_kinds() {
    let database = memory().await;
    for text in [
        "create table parent (id bigint primary key, name text not null unique, age bigint check (age >= 0))",
        "create table child (id bigint primary key, parent bigint references parent (id))",
        "insert into parent values (1, 'a', 1)",
    ] {
        database.execute(text.into()).await.expect(text);
    }
    for (text, kind) in [
        ("insert into parent values (1, 'b', 1)", ErrorKind::AlreadyExists),
        ("insert into parent values (2, 'a', 1)", ErrorKind::AlreadyExists),
        (
            "insert into parent values (2, null, 1)",
            ErrorKind::InvalidArgument,
        ),
        (
            "insert into parent values (2, 'b', -1)",
            ErrorKind::InvalidArgument,
        ),
        ("insert into child values (1, 9)", ErrorKind::Conflict),
        ("selec 1", ErrorKind::InvalidArgument),
        ("select * from missing", ErrorKind::InvalidArgument),
        ("select 1; select 2", ErrorKind::InvalidArgument),
        ("begin", ErrorKind::InvalidArgument),
    ] {
        let error = database.execute(text.into()).await.expect_err(text);
        assert_eq!(error.kind(), kind, "{text}: {error}");
        assert!(!error.is_retryable());
        assert_eq!(
            (error.component(), error.backend(), error.operation()),
            ("database", "sqlite", "execute")
        );
    }
}

#[tokio::test]
async fn streams_a_hundred_thousand_rows_and_frees_the_connection() {
    let database = memory().await;
    let count = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000) select i, hex(randomblob(8)) from n";
    let mut rows = database.fetch(count.into()).await.expect("begun");
    let mut sum = 0_i64;
    while let Some(row) = rows.try_next().await.expect("row") {
        let (number, _): (i64, String) = row.decode().expect("two columns");
        sum += number;
    }
    assert_eq!(sum, 100_000 * 100_001 / 2);
    assert!(
        rows.try_next().await.expect("ended").is_none(),
        "the stream stays ended"
    );
    drop(rows);

    let endless = "with recursive n (i) as (select 1 union all select i + 1 from n) select i from n";
    let mut rows = database.fetch(endless.into()).await.expect("begun");
    assert!(rows.try_next().await.expect("row").is_some());
    drop(rows);
    eventually_idle(&database).await;

    let mut broken = database
        .fetch("select * from missing".into())
        .await
        .expect("begun");
    assert_eq!(
        broken.try_next().await.expect_err("no table").kind(),
        ErrorKind::InvalidArgument
    );
    assert!(broken.try_next().await.expect("ended").is_none());
    drop(broken);
    eventually_idle(&database).await;
}

#[tokio::test]
async fn opens_files_and_says_what_is_wrong_with_others() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("new/folder/app.db");
    let url = format!("sqlite://{}", path.display());
    let database = SqlDatabase::connect(SqlConfig::development(&url))
        .await
        .expect("created");
    assert!(database.capabilities().has(Capability::Durable));
    database
        .execute("create table t (id bigint)".into())
        .await
        .expect("created");
    let mode: String = database
        .query_one("pragma journal_mode".into())
        .await
        .expect("asked");
    assert_eq!(mode, "wal");
    database
        .shutdown(std::time::Duration::from_secs(5))
        .await
        .expect("closed");
    database
        .shutdown(std::time::Duration::from_secs(5))
        .await
        .expect("closed again");
    for result in [
        database.health().await.err(),
        database.execute("select 1".into()).await.err(),
        database
            .begin(infra_core::database::TransactionOptions::new())
            .await
            .err(),
    ] {
        assert_eq!(result.expect("closed").kind(), ErrorKind::Closed);
    }

    let reading = SqlDatabase::connect(SqlConfig::development(format!("{url}?mode=ro")))
        .await
        .expect("opened");
    let refused = reading
        .execute("insert into t values (1)".into())
        .await
        .expect_err("read-only");
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);

    let noise = folder.path().join("noise.db");
    std::fs::write(
        &noise,
        "this is not a database, and long enough to be looked at ".repeat(100),
    )
    .expect("written");
    for (url, kind) in [
        (format!("sqlite://{}", noise.display()), ErrorKind::DataCorrupted),
        (
            format!("sqlite://{}/absent.db?mode=rw", folder.path().display()),
            ErrorKind::Unavailable,
        ),
        (
            format!("sqlite://{}/inside/app.db", noise.display()),
            ErrorKind::InvalidConfig,
        ),
        (
            format!("sqlite://{}", folder.path().display()),
            ErrorKind::Unavailable,
        ),
        (
            "postgres://root:hunter2@localhost/app".to_owned(),
            ErrorKind::InvalidConfig,
        ),
        (String::new(), ErrorKind::InvalidConfig),
    ] {
        let error = SqlDatabase::connect(SqlConfig::development(&url))
            .await
            .expect_err(&url);
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn memory_is_shared_by_connections_and_by_name_only() {
    let first = memory().await;
    let second = memory().await;
    first
        .execute("create table t (id bigint)".into())
        .await
        .expect("created");
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut rows = first
            .fetch("select count(*) from t union all select 1".into())
            .await
            .expect("begun");
        rows.try_next()
            .await
            .expect("the table is there on every connection");
        held.push(rows);
    }
    assert!(
        second.execute("select * from t".into()).await.is_err(),
        "another database"
    );
    assert!(!first.capabilities().has(Capability::Durable));
    let named = || SqlDatabase::connect(SqlConfig::development("sqlite://shared-by-name?mode=memory"));
    let (one, other) = (named().await.expect("opened"), named().await.expect("opened"));
    one.execute("create table n (id bigint)".into())
        .await
        .expect("created");
    other
        .execute("insert into n values (1)".into())
        .await
        .expect("the same database");
}

#[tokio::test]
async fn opens_by_url_and_profile() {
    let url: BackendUrl = "sqlite://:memory:".parse().expect("a URL");
    let database = SqlDatabase::connect_url(&url, Profile::Production)
        .await
        .expect("opened");
    assert_eq!(database.pool_status().max, 100);
    assert_eq!(database.backend(), "sqlite");
    let foreign: BackendUrl = "redis://cache".parse().expect("a URL");
    let error = SqlDatabase::connect_url(&foreign, Profile::Development)
        .await
        .expect_err("foreign");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.message().contains("sqlite"), "{error}");
}
