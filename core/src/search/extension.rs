//! Typed convenience over any [`Search`]; do not implement it.

use std::fmt;
use std::num::NonZeroU32;

use async_trait::async_trait;
use serde::de::DeserializeOwned;

use super::{Document, Filter, Indexable, Query, RawHit, RawPage, Search, WriteOutcome};
use crate::error::{Error, ErrorKind, Result};

/// A typed hit.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Hit<T> {
    /// The document's id.
    pub id: String,
    /// How well it matches.
    pub score: f64,
    /// The document.
    pub value: T,
    /// Marked fragments by field, if asked for.
    pub highlights: Vec<(String, String)>,
}

/// Leaves the fragments out; what is shown of the document is its type's decision.
impl<T: fmt::Debug> fmt::Debug for Hit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hit")
            .field("id", &self.id)
            .field("score", &self.score)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

/// One page of typed hits.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Page<T> {
    /// How many documents match in all.
    pub total: u64,
    /// This page's hits.
    pub hits: Vec<Hit<T>>,
    /// The cursor of the next page, or `None`.
    pub next: Option<String>,
}

/// Typed convenience over any [`Search`].
#[async_trait]
pub trait SearchExt: Search {
    /// Writes values; the outcomes come in their order.
    ///
    /// # Errors
    /// As [`Search::bulk`]; a value that is not a JSON object fails the whole call before any I/O.
    async fn bulk_index<T: Indexable + Sync>(&self, index: &str, items: &[T]) -> Result<Vec<WriteOutcome>> {
        let documents = items.iter().map(Document::of).collect::<Result<Vec<_>>>()?;
        self.bulk(index, documents).await
    }

    /// Writes one value; `false` when a newer version was there already.
    ///
    /// # Errors
    /// As [`Search::bulk`], and the item's own error.
    async fn upsert<T: Indexable + Sync>(&self, index: &str, item: &T) -> Result<bool> {
        let outcomes = self.bulk(index, vec![Document::of(item)?]).await?;
        outcomes.into_iter().next().map_or_else(
            || {
                Err(Error::new(
                    ErrorKind::Internal,
                    "a bulk write of one document gave no outcome",
                ))
            },
            |outcome| outcome.result,
        )
    }

    /// Searches for documents of type `T`.
    ///
    /// # Errors
    /// As [`Search::search`]; [`DataCorrupted`](ErrorKind::DataCorrupted) names a document that is not a `T`.
    async fn search_as<T: DeserializeOwned>(&self, index: &str, query: Query) -> Result<Page<T>> {
        typed(index, self.search(index, query).await?)
    }

    /// Searches within one session: documents whose keyword field `session_id` equals `session`.
    ///
    /// # Errors
    /// As [`SearchExt::search_as`].
    async fn search_in_session<T: DeserializeOwned>(
        &self,
        index: &str,
        session: &str,
        text: &str,
        page: NonZeroU32,
        size: u32,
    ) -> Result<Page<T>> {
        let query = Query::text(text).with_filter(Filter::equals("session_id", session));
        self.search_as(index, query.with_page(page).with_size(size)).await
    }

    /// Searches all documents that the caller may see: `allowed` is applied as a filter, never ignored.
    ///
    /// # Errors
    /// As [`SearchExt::search_as`].
    async fn search_global<T: DeserializeOwned>(
        &self,
        index: &str,
        text: &str,
        allowed: Option<Filter>,
        page: NonZeroU32,
        size: u32,
    ) -> Result<Page<T>> {
        let mut query = Query::text(text).with_page(page).with_size(size);
        query.filters.extend(allowed);
        self.search_as(index, query).await
    }
}

impl<S: Search + ?Sized> SearchExt for S {}

fn typed<T: DeserializeOwned>(index: &str, page: RawPage) -> Result<Page<T>> {
    let hits = page
        .hits
        .into_iter()
        .map(|hit| typed_hit(index, hit))
        .collect::<Result<Vec<_>>>()?;
    Ok(Page {
        total: page.total,
        hits,
        next: page.next,
    })
}

fn typed_hit<T: DeserializeOwned>(index: &str, hit: RawHit) -> Result<Hit<T>> {
    let value = crate::json::decode_value(hit.body).map_err(|misfit| {
        Error::new(
            ErrorKind::DataCorrupted,
            format!(
                "document {:?} of index {index:?} is not of the expected type: {misfit}",
                hit.id
            ),
        )
    })?;
    Ok(Hit {
        id: hit.id,
        score: hit.score,
        value,
        highlights: hit.highlights,
    })
}
