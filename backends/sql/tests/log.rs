//! What is logged about statements, and what never is.
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod support;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::database::{BatchInsert, Database, Statement};
use infra_sql::{SqlConfig, SqlDatabase};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Keeps every event as a line.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("written");
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(format!(
            "{} {}",
            event.metadata().level(),
            event.metadata().target()
        ));
        event.record(&mut line);
        self.0.lock().expect("not poisoned").push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn slow_and_failing_statements_are_logged_without_values() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let config = SqlConfig::development("sqlite::memory:").with_slow_query(Duration::ZERO);
    let database = SqlDatabase::connect(config).await.expect("opened");
    database
        .execute("create table t (id bigint primary key, name text)".into())
        .await
        .expect("created");
    let insert = || {
        Statement::new("insert into t\n  (id, name) -- alice\n values (:id, 'literal-secret' || :name)")
            .bind("id", 4242)
            .bind("name", "bound-secret")
    };
    database.execute(insert()).await.expect("inserted");
    database.execute(insert()).await.expect_err("exists");
    let broken = Statement::new("select nothing from t where name = :name").bind("name", "bound-secret");
    database.fetch_all(broken).await.expect_err("no such column");
    let batch = BatchInsert::new("t", ["id", "name"]).with_row([7.into(), "bound-secret".into()]);
    database.insert_many(batch).await.expect("inserted");

    let lines = lines.0.lock().expect("not poisoned").join("\n");
    assert!(
        !lines.contains("secret") && !lines.contains("4242") && !lines.contains("alice"),
        "{lines}"
    );
    for part in [
        "WARN infra.db",
        "statement=\"insert into t (id, name) values (:id, ? || :name)\" elapsed_ms=",
        "slow statement",
        "statement refused",
        "statement failed",
        "select nothing from t where name = :name",
        "insert into t (id, name) values …",
    ] {
        assert!(lines.contains(part), "{part:?} in {lines}");
    }
}

#[tokio::test]
async fn a_fast_statement_is_not_logged() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let config = SqlConfig::development("sqlite::memory:").with_slow_query(Duration::from_secs(60));
    let database = SqlDatabase::connect(config).await.expect("opened");
    database.fetch_all("select 1".into()).await.expect("read");
    let lines = lines.0.lock().expect("not poisoned").join("\n");
    assert!(
        !lines.contains("infra.db") && !lines.contains("select 1"),
        "{lines}"
    );
}
