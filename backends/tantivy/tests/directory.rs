//! Indexes on a directory: persistence, crashes, locks, damage, names, aliases, shutdown.

#![allow(
    clippy::unwrap_used,
    reason = "helpers outside test functions may fail the test"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{body, doc, on, schema};
use infra_core::capability::Capability;
use infra_core::intercept::{Recorder, Stack};
use infra_core::search::{FieldKind, IndexSchema, Query, Search};
use infra_core::{Backend, ErrorKind};
use infra_tantivy::{Durability, TantivyConfig, TantivySearch};

async fn open_error(directory: &std::path::Path) -> infra_core::Error {
    TantivySearch::open(TantivyConfig::development().with_directory(directory))
        .await
        .unwrap_err()
}

#[tokio::test]
async fn acknowledged_writes_survive_a_drop_without_shutdown() {
    let directory = tempfile::tempdir().unwrap();
    let search = on(directory.path()).await;
    assert!(search.capabilities().has(Capability::Durable));
    search.create_index("m", schema()).await.unwrap();
    search
        .bulk("m", vec![doc("1", "committed"), doc("2", "deleted later")])
        .await
        .unwrap();
    search.refresh("m").await.unwrap();
    search
        .bulk(
            "m",
            vec![doc("3", "journalled").with_version(9), doc("1", "changed")],
        )
        .await
        .unwrap();
    search.delete("m", "2").await.unwrap();
    drop(search);

    let search = on(directory.path()).await;
    assert_eq!(search.count("m").await.unwrap(), 2);
    assert_eq!(search.get("m", "1").await.unwrap(), Some(body("changed")));
    assert_eq!(search.get("m", "2").await.unwrap(), None);
    let older = search
        .bulk("m", vec![doc("3", "older").with_version(8)])
        .await
        .unwrap();
    assert!(!older[0].result.clone().unwrap(), "versions survive too");
    assert_eq!(
        search.search("m", Query::text("journalled")).await.unwrap().total,
        1
    );
    search.shutdown(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn every_state_of_the_journal_replays_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = 0u64;
    for round in 0..6u64 {
        let search = on(directory.path()).await;
        search.create_index("m", schema()).await.unwrap();
        assert_eq!(search.count("m").await.unwrap(), expected, "round {round}");
        search
            .bulk("m", vec![doc(&format!("{round}-a"), "x")])
            .await
            .unwrap();
        if round % 2 == 0 {
            search.refresh("m").await.unwrap();
        }
        search
            .bulk("m", vec![doc(&format!("{round}-b"), "x"), doc("same", "x")])
            .await
            .unwrap();
        expected = (round + 1) * 2 + 1;
    }
}

#[tokio::test]
async fn a_torn_journal_keeps_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let search = on(directory.path()).await;
    search.create_index("m", schema()).await.unwrap();
    search.bulk("m", vec![doc("1", "whole")]).await.unwrap();
    drop(search);
    let journal = directory.path().join("indexes/m/journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes.extend_from_slice(&[200, 0, 0, 0, 1, 2, 3, 4, 5]);
    std::fs::write(&journal, bytes).unwrap();
    let search = on(directory.path()).await;
    assert_eq!(search.count("m").await.unwrap(), 1);
}

#[tokio::test]
async fn two_engines_never_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let search = on(directory.path()).await;
    let error = open_error(directory.path()).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("open already"), "{error}");
    search.shutdown(Duration::from_secs(10)).await.unwrap();
    let second = on(directory.path()).await;
    second.shutdown(Duration::from_secs(10)).await.unwrap();
    drop(search);
}

#[tokio::test]
async fn foreign_and_damaged_directories_are_refused() {
    let foreign = tempfile::tempdir().unwrap();
    std::fs::write(foreign.path().join("holiday.jpg"), "x").unwrap();
    let error = open_error(foreign.path()).await;
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.message().contains("holiday.jpg"), "{error}");
    assert_eq!(
        std::fs::read_dir(foreign.path()).unwrap().count(),
        1,
        "nothing was written"
    );

    let file = foreign.path().join("holiday.jpg");
    assert_ne!(open_error(&file).await.kind(), ErrorKind::Internal);

    for victim in [
        "infra-search.json",
        "indexes/m/schema.json",
        "indexes/m/journal",
        "indexes/m/tantivy/meta.json",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let search = on(directory.path()).await;
        search.create_index("m", schema()).await.unwrap();
        search.bulk("m", vec![doc("1", "x")]).await.unwrap();
        search.shutdown(Duration::from_secs(10)).await.unwrap();
        drop(search);
        std::fs::write(directory.path().join(victim), "something else entirely").unwrap();
        let error = open_error(directory.path()).await;
        assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{victim}: {error}");
    }
}

#[tokio::test]
async fn a_lost_segment_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let search = on(directory.path()).await;
    search.create_index("m", schema()).await.unwrap();
    search.bulk("m", vec![doc("1", "x")]).await.unwrap();
    search.shutdown(Duration::from_secs(10)).await.unwrap();
    drop(search);
    for entry in std::fs::read_dir(directory.path().join("indexes/m/tantivy")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "fast") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let error = open_error(directory.path()).await;
    assert_eq!(error.kind(), ErrorKind::DataCorrupted, "{error}");
}

#[tokio::test]
async fn names_are_kept_apart_and_inside() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let long = "长".repeat(170);
    let names = [
        "m", "M", "..", ".", "../m", "/m", "a/b", "%2E", "消息", "é", "e\u{301}", &long,
    ];
    let search = on(&root).await;
    for name in names {
        search.create_index(name, schema()).await.unwrap();
        search.bulk(name, vec![doc("1", name)]).await.unwrap();
    }
    for (name, kind) in [
        ("", ErrorKind::InvalidArgument),
        (&"n".repeat(513), ErrorKind::InvalidArgument),
    ] {
        assert_eq!(
            search.create_index(name, schema()).await.unwrap_err().kind(),
            kind
        );
        assert_eq!(search.index_exists(name).await.unwrap_err().kind(), kind);
    }
    drop(search);
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "nothing beside the directory"
    );
    let search = on(&root).await;
    for name in names {
        assert_eq!(search.get(name, "1").await.unwrap(), Some(body(name)), "{name}");
    }
}

#[tokio::test]
async fn schemas_are_kept_and_compared() {
    let directory = tempfile::tempdir().unwrap();
    let search = on(directory.path()).await;
    search.create_index("m", schema()).await.unwrap();
    search.create_index("m", schema()).await.unwrap();
    drop(search);
    let search = on(directory.path()).await;
    search.create_index("m", schema()).await.unwrap();
    let other = IndexSchema::new().with_field("content", FieldKind::Keyword);
    let error = search.create_index("m", other).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let unnamed = IndexSchema::new().with_field("", FieldKind::Text);
    let error = search.create_index("n", unnamed).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn aliases_move_in_one_step_and_persist() {
    let directory = tempfile::tempdir().unwrap();
    let search = on(directory.path()).await;
    search.create_index("v1", schema()).await.unwrap();
    search.create_index("v2", schema()).await.unwrap();
    search.set_alias("live", "v1").await.unwrap();
    search.bulk("live", vec![doc("1", "old")]).await.unwrap();
    assert_eq!(search.get("v1", "1").await.unwrap(), Some(body("old")));
    search.set_alias("live", "v2").await.unwrap();
    assert_eq!(search.get("live", "1").await.unwrap(), None);
    for (alias, target, kind) in [
        ("v1", "v2", ErrorKind::AlreadyExists),
        ("x", "absent", ErrorKind::NotFound),
        ("", "v1", ErrorKind::InvalidArgument),
    ] {
        assert_eq!(
            search.set_alias(alias, target).await.unwrap_err().kind(),
            kind,
            "{alias}"
        );
    }
    assert_eq!(
        search.create_index("live", schema()).await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        search.delete_index("live").await.unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    drop(search);

    let search = on(directory.path()).await;
    search.bulk("live", vec![doc("2", "new")]).await.unwrap();
    assert_eq!(search.get("v2", "2").await.unwrap(), Some(body("new")));
    assert!(search.delete_index("v2").await.unwrap());
    assert!(!search.delete_index("v2").await.unwrap());
    assert!(!search.index_exists("live").await.unwrap());
    assert!(search.index_exists("v1").await.unwrap());
    drop(search);

    let search = on(directory.path()).await;
    assert!(!search.index_exists("v2").await.unwrap() && !search.index_exists("live").await.unwrap());
    search.create_index("v2", schema()).await.unwrap();
    assert_eq!(search.count("v2").await.unwrap(), 0, "made anew, empty");
}

#[tokio::test]
async fn unknown_indexes_are_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let search = on(directory.path()).await;
    let kinds = [
        search.bulk("x", vec![doc("1", "x")]).await.unwrap_err().kind(),
        search.get("x", "1").await.unwrap_err().kind(),
        search.delete("x", "1").await.unwrap_err().kind(),
        search.search("x", Query::all()).await.unwrap_err().kind(),
        search.count("x").await.unwrap_err().kind(),
        search.refresh("x").await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::NotFound; 6]);
    assert!(!search.index_exists("x").await.unwrap());
}

#[tokio::test]
async fn shutdown_commits_then_refuses_and_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let config = TantivyConfig::production()
        .with_directory(directory.path())
        .with_durability(Durability::Machine);
    let search = TantivySearch::open(config).await.unwrap();
    search.create_index("m", schema()).await.unwrap();
    search.bulk("m", vec![doc("1", "x")]).await.unwrap();
    search.health().await.unwrap();
    search.shutdown(Duration::from_secs(10)).await.unwrap();
    search.shutdown(Duration::from_secs(10)).await.unwrap();
    let journal = std::fs::metadata(directory.path().join("indexes/m/journal")).unwrap();
    assert_eq!(journal.len(), 8, "all committed");
    let kinds = [
        search.bulk("m", vec![doc("1", "x")]).await.unwrap_err().kind(),
        search.get("m", "1").await.unwrap_err().kind(),
        search.delete("m", "1").await.unwrap_err().kind(),
        search.search("m", Query::all()).await.unwrap_err().kind(),
        search.count("m").await.unwrap_err().kind(),
        search.refresh("m").await.unwrap_err().kind(),
        search.health().await.unwrap_err().kind(),
        search.create_index("n", schema()).await.unwrap_err().kind(),
        search.delete_index("m").await.unwrap_err().kind(),
        search.index_exists("m").await.unwrap_err().kind(),
        search.set_alias("a", "m").await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Closed; 11]);
}

#[tokio::test]
async fn the_readme_shows_the_capabilities_that_are_declared() {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = on(directory.path()).await;
    let in_memory = TantivySearch::open(TantivyConfig::development()).await.unwrap();
    let section = include_str!("../README.md")
        .split("## Capabilities")
        .nth(1)
        .and_then(|rest| rest.split("##").next())
        .unwrap();
    let row = |line: &str| -> Option<(String, bool, bool)> {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), *cells.get(2)? == "yes", *cells.get(3)? == "yes"))
    };
    let shown: Vec<_> = section.lines().filter_map(row).collect();
    for capability in on_disk
        .capabilities()
        .iter()
        .chain(in_memory.capabilities().iter())
    {
        let expected = (
            capability.name().to_owned(),
            in_memory.capabilities().has(capability),
            on_disk.capabilities().has(capability),
        );
        assert!(shown.contains(&expected), "{expected:?} is not in the README");
    }
    assert_eq!(
        shown.len(),
        on_disk.capabilities().iter().count(),
        "rows of nothing declared"
    );
}

#[tokio::test]
async fn a_stack_of_interceptors_goes_around_it() {
    let plain: Arc<dyn Search> = Arc::new(TantivySearch::open(TantivyConfig::development()).await.unwrap());
    let recorder = Arc::new(Recorder::default());
    let search = Stack::new().with_shared(recorder.clone()).wrap(plain);
    search.create_index("m", schema()).await.unwrap();
    search.bulk("m", vec![doc("1", "hello")]).await.unwrap();
    search.refresh("m").await.unwrap();
    assert_eq!(search.search("m", Query::text("hello")).await.unwrap().total, 1);
    assert_eq!(recorder.calls().len(), 4);
}

#[tokio::test]
async fn the_number_of_indexes_is_bounded() {
    let search = TantivySearch::open(TantivyConfig::development().with_max_indexes(1))
        .await
        .unwrap();
    assert!(!search.capabilities().has(Capability::Durable));
    search.create_index("a", schema()).await.unwrap();
    let error = search.create_index("b", schema()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    search.delete_index("a").await.unwrap();
    search.create_index("b", schema()).await.unwrap();
}
