//! What the integration tests share.
#![allow(dead_code, reason = "each test file uses its own part")]

use infra_core::search::{Document, FieldKind, IndexSchema, Query, Search, WriteOutcome};
use infra_tantivy::{TantivyConfig, TantivySearch};
use serde_json::{Value, json};

pub(crate) fn schema() -> IndexSchema {
    IndexSchema::new()
        .with_field("content", FieldKind::Text)
        .with_field("title", FieldKind::Text)
        .with_field("session_id", FieldKind::Keyword)
        .with_field("sent_at", FieldKind::Integer)
        .with_field("score", FieldKind::Float)
        .with_field("pinned", FieldKind::Boolean)
}

/// An engine in memory with an index `m`.
pub(crate) async fn memory() -> TantivySearch {
    let search = TantivySearch::open(TantivyConfig::development()).await.unwrap();
    search.create_index("m", schema()).await.unwrap();
    search
}

/// An engine on a directory, without the regular refresh getting in the way.
pub(crate) async fn on(directory: &std::path::Path) -> TantivySearch {
    let config = TantivyConfig::development()
        .with_directory(directory)
        .with_refresh_interval(std::time::Duration::from_secs(3600));
    TantivySearch::open(config).await.unwrap()
}

pub(crate) fn doc(id: &str, content: &str) -> Document {
    Document::new(id, json!({"content": content}))
}

pub(crate) async fn put(search: &TantivySearch, documents: Vec<Document>) -> Vec<WriteOutcome> {
    let outcomes = search.bulk("m", documents).await.unwrap();
    search.refresh("m").await.unwrap();
    outcomes
}

/// The ids that match, in the order of the hits.
pub(crate) async fn ids(search: &TantivySearch, query: Query) -> Vec<String> {
    let page = search.search("m", query.with_size(100)).await.unwrap();
    assert_eq!(page.total as usize, page.hits.len());
    page.hits.into_iter().map(|hit| hit.id).collect()
}

pub(crate) fn body(content: &str) -> Value {
    json!({ "content": content })
}
