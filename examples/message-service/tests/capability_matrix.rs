//! The capability matrix of the README is what the backends declare.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use std::fmt::Write as _;
use std::path::Path;

use infra_consul::ConsulConfig;
use infra_core::Backend;
use infra_core::capability::{Capabilities, Capability, Limits};
use infra_etcd::EtcdConfig;
use infra_memory::{MemoryCache, MemoryCoordinator, MemoryOnceStore, MemoryQueue};
use infra_redis::RedisConfig;
use infra_sql::{SqlConfig, SqlDatabase};
use infra_tantivy::{TantivyConfig, TantivySearch};

const BEGIN: &str = "<!-- capabilities:begin";
const END: &str = "<!-- capabilities:end -->";

#[tokio::test]
async fn the_readme_shows_what_the_backends_declare() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = format!("sqlite://{}", folder.path().join("app.db").display());
    let sqlite = SqlDatabase::connect(SqlConfig::development(file))
        .await
        .expect("a database");
    let config = TantivyConfig::development().with_directory(folder.path().join("search"));
    let tantivy = TantivySearch::open(config).await.expect("an index");
    let (cache, coordinator) = (MemoryCache::new(), MemoryCoordinator::new());
    let (queue, once) = (MemoryQueue::new(), MemoryOnceStore::new());
    let backends = [
        ("cache: memory", cache.capabilities().clone()),
        ("cache: redis", RedisConfig::development().capabilities()),
        ("coordination: memory", coordinator.capabilities().clone()),
        ("coordination: etcd", EtcdConfig::capabilities()),
        ("coordination: consul", ConsulConfig::capabilities()),
        ("queue: memory", queue.capabilities().clone()),
        ("once: memory", once.capabilities().clone()),
        ("database: sqlite", sqlite.capabilities().clone()),
        ("search: tantivy", tantivy.capabilities().clone()),
    ];
    let table = matrix(&backends);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(&path).expect("the README");
    let begin = readme.find(BEGIN).expect("the marker of the beginning");
    let begin = begin + readme[begin..].find('\n').expect("a line end") + 1;
    let end = readme.find(END).expect("the marker of the end");
    if std::env::var_os("UPDATE").is_some() {
        let updated = format!("{}\n{table}\n{}", &readme[..begin], &readme[end..]);
        std::fs::write(&path, updated).expect("the README is rewritten");
        return;
    }
    assert_eq!(
        readme[begin..end].trim(),
        table.trim(),
        "the README drifted; rewrite it with UPDATE=1 cargo test -p message-service --test capability_matrix"
    );
}

fn matrix(backends: &[(&str, Capabilities)]) -> String {
    let mut table = String::from("| |");
    for (name, _) in backends {
        let _ = write!(table, " {name} |");
    }
    let _ = write!(table, "\n| --- |{}\n", " --- |".repeat(backends.len()));
    for capability in Capability::ALL {
        let declared = |backend: &Capabilities| backend.has(capability);
        if backends.iter().any(|(_, backend)| declared(backend)) {
            let marks = backends
                .iter()
                .map(|(_, backend)| if declared(backend) { " yes |" } else { " |" });
            let _ = writeln!(table, "| {capability} |{}", marks.collect::<String>());
        }
    }
    for (limit, of) in [
        (
            "longest key, bytes",
            (|limits| limits.max_key_bytes.to_string()) as fn(&Limits) -> String,
        ),
        ("largest value, bytes", |limits| {
            limits.max_value_bytes.to_string()
        }),
        ("shortest time to live", |limits| format!("{:?}", limits.min_ttl)),
        ("most writes of a transaction", |limits| {
            limits.max_transaction_writes.to_string()
        }),
    ] {
        let values: String = backends
            .iter()
            .map(|(_, backend)| format!(" {} |", of(backend.limits())))
            .collect();
        let _ = writeln!(table, "| {limit} |{values}");
    }
    table
}
