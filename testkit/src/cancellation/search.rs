//! The cases of search, and of the sink that writes to it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::search::{
    BulkSink, BulkSinkConfig, Document, FieldKind, IndexSchema, Indexable, Query, Search, SearchExt,
};
use infra_core::{ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ground::{Case, Ground, cases};
use super::route::Route;
use crate::conformance::{Failure, Subject};
use crate::unique;

/// Longer than any write.
const BOUND: Duration = Duration::from_secs(30);

/// The one page of everything.
const FIRST: NonZeroU32 = NonZeroU32::MIN;

/// An engine with an index that holds one document.
#[derive(Debug)]
pub struct SearchGround {
    route: Route,
    bare: Arc<dyn Search>,
    search: Arc<dyn Search>,
    index: String,
}

/// What is indexed.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    session_id: String,
    content: String,
}

impl Indexable for Note {
    fn id(&self) -> String {
        self.content.clone()
    }
}

fn note(content: &str) -> Note {
    Note {
        session_id: "s".to_owned(),
        content: content.to_owned(),
    }
}

fn document(content: &str) -> Document {
    Document::new(content, json!({"session_id": "s", "content": content}))
}

impl SearchGround {
    /// Makes an index in `bare`, which will be called over `route` and is shared by many grounds: it is not shut down.
    ///
    /// # Errors
    /// The backend's.
    pub async fn new(bare: Arc<dyn Search>, route: Route) -> Result<Self, Failure> {
        let index = unique("cancel");
        bare.create_index(&index, schema()).await?;
        bare.bulk_index(&index, &[note("one")]).await?;
        Ok(Self {
            search: <dyn Search as Subject>::behind(route.stack(), bare.clone()),
            route,
            bare,
            index,
        })
    }

    fn new_index(&self) -> String {
        format!("{}_new", self.index)
    }

    /// The ids in the index.
    async fn documents(&self) -> Result<Vec<String>> {
        self.bare.refresh(&self.index).await?;
        let hits = self
            .bare
            .search(&self.index, Query::all().with_size(50))
            .await?
            .hits;
        let mut ids: Vec<_> = hits.into_iter().map(|hit| hit.id).collect();
        ids.sort();
        Ok(ids)
    }

    fn sink(&self) -> Result<BulkSink> {
        let config = BulkSinkConfig::development().with_flush_interval(Duration::from_millis(10));
        BulkSink::new(self.search.clone(), self.index.as_str(), config)
    }
}

fn schema() -> IndexSchema {
    IndexSchema::new()
        .with_field("session_id", FieldKind::Keyword)
        .with_field("content", FieldKind::Text)
}

impl Ground for SearchGround {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async {
            let new = self.bare.index_exists(&self.new_index()).await?;
            let old = match self.documents().await {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                documents => Some(documents?),
            };
            Ok(format!("the index holds {old:?}, there is a new one: {new}"))
        })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async move {
            self.bare.delete_index(&self.index).await?;
            self.bare.delete_index(&self.new_index()).await.map(drop)
        })
    }
}

/// Every operation of search and of the sink.
#[must_use]
pub fn cases() -> Vec<Case<SearchGround>> {
    let mut all = engine();
    all.extend(extension());
    all.extend(sink());
    all
}

fn engine() -> Vec<Case<SearchGround>> {
    cases![
        "Search::create_index" => |g| g.search.create_index(&g.new_index(), schema()).await?,
        "Search::delete_index" => |g| g.search.delete_index(&g.index).await?,
        "Search::index_exists" => |g| g.search.index_exists(&g.index).await?,
        "Search::set_alias" => |g| g.search.set_alias(&g.new_index(), &g.index).await?,
        "Search::bulk" => |g| g.search.bulk(&g.index, vec![document("two"), document("three")]).await?,
        "Search::delete" => |g| g.search.delete(&g.index, "one").await?,
        "Search::get" => |g| g.search.get(&g.index, "one").await?,
        "Search::search" => |g| g.search.search(&g.index, Query::all()).await?,
        "Search::count" => |g| g.search.count(&g.index).await?,
        "Search::refresh" => |g| g.search.refresh(&g.index).await?,
        "Backend::health (of a search engine)" => |g| g.search.health().await?,
    ]
}

fn extension() -> Vec<Case<SearchGround>> {
    cases![
        "SearchExt::bulk_index" => |g| g.search.bulk_index(&g.index, &[note("two")]).await?,
        "SearchExt::upsert" => |g| g.search.upsert(&g.index, &note("two")).await?,
        "SearchExt::search_as" => |g| g.search.search_as::<Note>(&g.index, Query::all()).await?,
        "SearchExt::search_in_session" => |g| {
            g.search.search_in_session::<Note>(&g.index, "s", "one", FIRST, 10).await?
        },
        "SearchExt::search_global" => |g| {
            g.search.search_global::<Note>(&g.index, "one", None, FIRST, 10).await?
        },
    ]
}

fn sink() -> Vec<Case<SearchGround>> {
    cases![
        "BulkSink::add" => |g| {
            g.sink()?.add(document("two")).await?.await?
        },
        "BulkSink::index" => |g| g.sink()?.index(&note("two")).await?.await?,
        "BulkSink::flush" => |g| g.sink()?.flush(BOUND).await?,
        "BulkSink::close" => |g| {
            let sink = g.sink()?;
            sink.add(document("two")).await?;
            sink.close(BOUND).await?
        },
    ]
}
