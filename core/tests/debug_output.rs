//! What users store, send and look for does not appear in debug output, which ends up in logs.

use std::fmt::Debug;

use bytes::Bytes;
use infra_core::Ttl;
use infra_core::cache::{
    Batch, Check, CompareAndSet, Expected, Operation, OperationResult, Scored, ScriptValue,
};
use infra_core::coordination::{ConfigEntry, ConfigWrite, Version};
use infra_core::database::{BatchInsert, Statement, TransactionOptions};
use infra_core::queue::Message;
use infra_core::search::{Document, Filter, Query, RawHit};
use serde_json::json;

const SECRET: &str = "hunter2";

#[test]
fn values_are_hidden() {
    let secret = || Bytes::from_static(SECRET.as_bytes());
    let key = || "key".to_owned();
    let shown: Vec<(&str, Box<dyn Debug>)> = vec![
        ("expected", Box::new(Expected::Value(secret()))),
        (
            "mismatch",
            Box::new(CompareAndSet::Mismatch {
                current: Some(secret()),
            }),
        ),
        ("scored", Box::new(Scored::new(SECRET, 1.0))),
        (
            "batch",
            Box::new(
                Batch::new()
                    .when(Check::Equals(key(), secret()))
                    .then(Operation::Set(key(), secret(), Ttl::Never))
                    .then(Operation::HashSet(key(), vec![(key(), secret())]))
                    .then(Operation::SetAdd(key(), vec![secret()]))
                    .then(Operation::SetRemove(key(), vec![secret()]))
                    .then(Operation::SortedAdd(key(), vec![Scored::new(SECRET, 1.0)])),
            ),
        ),
        ("result", Box::new(OperationResult::Value(Some(secret())))),
        (
            "script",
            Box::new(ScriptValue::List(vec![ScriptValue::Bytes(secret())])),
        ),
        (
            "config entry",
            Box::new(ConfigEntry::new(key(), secret(), Version(1))),
        ),
        ("config write", Box::new(ConfigWrite::set(key(), secret()))),
        (
            "message",
            Box::new(
                Message::new("topic", SECRET)
                    .with_key(SECRET)
                    .with_header("Name", SECRET),
            ),
        ),
        (
            "statement",
            Box::new(Statement::new("select :a").bind("a", SECRET).shard_key(SECRET)),
        ),
        (
            "transaction",
            Box::new(TransactionOptions::new().on_shard("messages", SECRET)),
        ),
        (
            "insert",
            Box::new(BatchInsert::new("t", ["c"]).with_row([SECRET.into()])),
        ),
        (
            "document",
            Box::new(Document::new("1", json!({ "content": SECRET }))),
        ),
        (
            "query",
            Box::new(
                Query::text(SECRET)
                    .with_filter(Filter::equals("a", SECRET))
                    .with_filter(Filter::any_of("b", [SECRET]).negate()),
            ),
        ),
        (
            "hit",
            Box::new(
                RawHit::new("1", 1.0, json!({ "content": SECRET }))
                    .with_highlights(vec![("content".to_owned(), SECRET.to_owned())]),
            ),
        ),
    ];
    // `Bytes` shows text as text, numbers as numbers: both forms are looked for.
    let leaks: Vec<_> = shown
        .iter()
        .filter(|(_, value)| format!("{value:?}{value:#?}").contains(SECRET))
        .map(|(name, _)| *name)
        .collect();
    assert!(leaks.is_empty(), "these show their values: {leaks:?}");
}

#[test]
fn keys_fields_and_sizes_are_shown() {
    let operation = Operation::Set("user:1".to_owned(), Bytes::from_static(b"John"), Ttl::Never);
    assert_eq!(format!("{operation:?}"), r#"Set("user:1", (<4 bytes>, Never))"#);
    assert_eq!(
        format!("{:?}", Filter::equals("session", 1)),
        r#"Equals("session")"#
    );
}
