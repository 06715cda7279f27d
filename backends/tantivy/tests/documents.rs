//! Writing, reading by id, versions, outcomes, visibility.

#![allow(
    clippy::unwrap_used,
    reason = "helpers outside test functions may fail the test"
)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{body, doc, ids, memory, put, schema};
use infra_core::search::{Document, Query, Search};
use infra_core::{Backend, ErrorKind};
use infra_tantivy::{TantivyConfig, TantivySearch};
use serde_json::json;

#[tokio::test]
async fn a_document_is_written_read_found_and_deleted() {
    let search = memory().await;
    assert_eq!(search.get("m", "1").await.unwrap(), None);
    search.bulk("m", vec![doc("1", "hello world")]).await.unwrap();
    assert_eq!(
        search.get("m", "1").await.unwrap(),
        Some(body("hello world")),
        "before a refresh"
    );
    assert_eq!(search.count("m").await.unwrap(), 0, "not yet visible");
    search.refresh("m").await.unwrap();
    assert_eq!(search.count("m").await.unwrap(), 1);
    assert_eq!(ids(&search, Query::text("HELLO")).await, ["1"]);
    assert!(search.delete("m", "1").await.unwrap());
    assert_eq!(search.get("m", "1").await.unwrap(), None, "before a refresh");
    assert!(!search.delete("m", "1").await.unwrap());
    search.refresh("m").await.unwrap();
    assert_eq!(search.count("m").await.unwrap(), 0);
}

#[tokio::test]
async fn an_older_version_never_wins_committed_or_not() {
    let search = memory().await;
    let write = |version, text: &str| vec![doc("1", text).with_version(version)];
    assert!(
        search.bulk("m", write(5, "five")).await.unwrap()[0]
            .result
            .clone()
            .unwrap()
    );
    assert!(
        !search.bulk("m", write(4, "four")).await.unwrap()[0]
            .result
            .clone()
            .unwrap(),
        "uncommitted"
    );
    search.refresh("m").await.unwrap();
    assert!(
        !search.bulk("m", write(4, "four")).await.unwrap()[0]
            .result
            .clone()
            .unwrap(),
        "committed"
    );
    assert!(
        search.bulk("m", write(5, "again")).await.unwrap()[0]
            .result
            .clone()
            .unwrap(),
        "equal: last wins"
    );
    let one_call = vec![
        doc("1", "seven").with_version(7),
        doc("1", "six").with_version(6),
        doc("1", "eight").with_version(8),
    ];
    let outcomes = put(&search, one_call).await;
    let written: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| outcome.result.unwrap())
        .collect();
    assert_eq!(written, [true, false, true]);
    assert_eq!(search.get("m", "1").await.unwrap(), Some(body("eight")));
    assert_eq!(
        ids(&search, Query::all()).await,
        ["1"],
        "one document, whatever was written"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_leave_the_newest_version() {
    let search = Arc::new(memory().await);
    let mut writers = Vec::new();
    for writer in 0..8u64 {
        let search = search.clone();
        writers.push(tokio::spawn(async move {
            for round in 0..20u64 {
                let version = (round * 8 + writer) * 7 % 160;
                let documents = (0..5)
                    .map(|id| {
                        Document::new(format!("{id}"), json!({"sent_at": version})).with_version(version)
                    })
                    .collect();
                search.bulk("m", documents).await.unwrap();
                if round % 7 == writer % 7 {
                    search.refresh("m").await.unwrap();
                }
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    search.refresh("m").await.unwrap();
    assert_eq!(search.count("m").await.unwrap(), 5);
    for id in 0..5 {
        assert_eq!(
            search.get("m", &id.to_string()).await.unwrap(),
            Some(json!({"sent_at": 159}))
        );
    }
}

#[tokio::test]
async fn what_does_not_fit_fails_alone_and_says_why() {
    let search = memory().await;
    let mut deep = json!(1);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let bad = [
        (json!({"sent_at": "soon"}), "sent_at"),
        (json!({"sent_at": 1.5}), "sent_at"),
        (json!({"sent_at": u64::MAX}), "sent_at"),
        (json!({"session_id": 5}), "session_id"),
        (json!({"session_id": "k".repeat(40_000)}), "session_id"),
        (json!({"content": {"a": 1}}), "content"),
        (json!({"content": [["nested"]]}), "content"),
        (json!({"pinned": "yes"}), "pinned"),
        (json!({"score": "high"}), "score"),
        (json!({"other": "x".repeat(1024 * 1024)}), "bytes"),
        (json!({ "other": deep }), "levels"),
        (json!([1, 2]), "object"),
        (json!(null), "object"),
    ];
    let mut documents = vec![doc("good-1", "one")];
    for (at, (body, _)) in bad.iter().enumerate() {
        documents.push(Document::new(format!("bad-{at}"), body.clone()));
    }
    documents.push(doc("", "no id"));
    documents.push(doc(&"i".repeat(513), "long id"));
    documents.push(doc("good-2", "two"));
    let outcomes = put(&search, documents).await;
    assert_eq!(outcomes.len(), bad.len() + 4);
    for (outcome, (_, word)) in outcomes[1..].iter().zip(&bad) {
        let error = outcome.result.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(word), "{error}");
        if *word != "bytes" {
            assert!(error.message().contains(&outcome.id), "{error}");
        }
        assert!(
            !error.to_string().contains("soon"),
            "values stay out of errors: {error}"
        );
    }
    assert!(outcomes[bad.len() + 1].result.is_err() && outcomes[bad.len() + 2].result.is_err());
    assert_eq!(ids(&search, Query::all()).await, ["good-1", "good-2"]);
}

#[tokio::test]
async fn null_missing_and_repeated_values_are_fine() {
    let search = memory().await;
    let documents = vec![
        Document::new("1", json!({"session_id": null, "unknown": {"deep": [1, null]}})),
        Document::new(
            "2",
            json!({"session_id": ["a", "b"], "content": ["first part", "second part"]}),
        ),
    ];
    put(&search, documents).await;
    assert_eq!(ids(&search, Query::text("first second")).await, ["2"]);
    assert_eq!(
        search.get("m", "1").await.unwrap(),
        Some(json!({"session_id": null, "unknown": {"deep": [1, null]}}))
    );
}

#[tokio::test]
async fn ids_are_data() {
    let search = memory().await;
    let odd = [
        "..", "/", "%2F", "_doc?x=1", "é", "e\u{301}", "消息", " ", "\0", "a\"b",
    ];
    put(&search, odd.iter().map(|id| doc(id, id)).collect()).await;
    assert_eq!(search.count("m").await.unwrap(), odd.len() as u64);
    for id in odd {
        assert_eq!(search.get("m", id).await.unwrap(), Some(body(id)), "{id:?}");
    }
}

#[tokio::test]
async fn writes_become_visible_by_themselves() {
    let config = TantivyConfig::development().with_refresh_interval(Duration::from_millis(20));
    let search = TantivySearch::open(config).await.unwrap();
    search.create_index("m", schema()).await.unwrap();
    search.bulk("m", vec![doc("1", "one")]).await.unwrap();
    let visible = async {
        while search.count("m").await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), visible)
        .await
        .unwrap();
}

#[tokio::test]
async fn many_bytes_refresh_early() {
    let config = TantivyConfig::development()
        .with_max_pending_bytes(10_000)
        .with_refresh_interval(Duration::from_secs(3600));
    let search = TantivySearch::open(config).await.unwrap();
    search.create_index("m", schema()).await.unwrap();
    let text = "word ".repeat(100);
    search
        .bulk("m", (0..30).map(|id| doc(&id.to_string(), &text)).collect())
        .await
        .unwrap();
    assert_eq!(search.count("m").await.unwrap(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_bulk_leaves_everything_usable() {
    let search = memory().await;
    for delay in 0..30u64 {
        let documents = (0..50).map(|id| doc(&format!("{delay}-{id}"), "text")).collect();
        let bulk = search.bulk("m", documents);
        let _cancelled = tokio::time::timeout(Duration::from_micros(delay * 20), bulk).await;
    }
    for delay in 0..30 {
        let documents = (0..50).map(|id| doc(&format!("{delay}-{id}"), "text")).collect();
        search.bulk("m", documents).await.unwrap();
    }
    search.refresh("m").await.unwrap();
    assert_eq!(search.count("m").await.unwrap(), 1500);
    search.shutdown(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test]
async fn an_oversized_bulk_is_refused_whole() {
    let config = TantivyConfig::development().with_max_bulk_documents(2);
    let search = TantivySearch::open(config).await.unwrap();
    search.create_index("m", schema()).await.unwrap();
    let error = search
        .bulk("m", (0..3).map(|id| doc(&id.to_string(), "x")).collect())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(search.bulk("m", Vec::new()).await.unwrap().is_empty());
}
