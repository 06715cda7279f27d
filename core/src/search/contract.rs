//! The trait that a search backend implements.

use async_trait::async_trait;
use serde_json::Value;

use super::{Document, IndexSchema, Query, RawPage};
use crate::backend::Backend;
use crate::error::Result;

/// What became of one document of a bulk write.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WriteOutcome {
    /// The document's id.
    pub id: String,
    /// `Ok(true)`: written. `Ok(false)`: left alone, because a newer version was there already.
    pub result: Result<bool>,
}

impl WriteOutcome {
    /// Pairs an id with what became of it.
    #[must_use]
    pub fn new(id: impl Into<String>, result: Result<bool>) -> Self {
        Self {
            id: id.into(),
            result,
        }
    }
}

/// A search index: full text, filters, sorting, paging, highlighting.
///
/// # Contract
/// - Index names and document ids are data: any UTF-8 is refused or kept apart, never normalised away.
/// - A write is visible to searches after [`refresh`](Search::refresh), or after the backend's refresh interval.
/// - Writes are versioned: an older version never overwrites a newer one, and says so.
/// - Versions protect documents that are there: a deleted document has no version any more, so delete last.
/// - Chinese, Japanese and Korean text is found by word, not only by the exact string.
#[crate::intercept(component = "search")]
#[async_trait]
pub trait Search: Backend {
    /// Creates an index with its schema; doing it again with the same schema succeeds.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when the index exists with another schema;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a bad name or schema.
    #[call(idempotent)]
    async fn create_index(&self, index: &str, schema: IndexSchema) -> Result<()>;

    /// Deletes an index, all in it, and the aliases that point at it; `false` when there was none.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an alias: an index is deleted by its own name.
    #[call(idempotent)]
    async fn delete_index(&self, index: &str) -> Result<bool>;

    /// Whether there is an index or alias of this name.
    #[call(idempotent)]
    async fn index_exists(&self, index: &str) -> Result<bool>;

    /// Points `alias` at `index`, and away from wherever it pointed, in one step. An alias can be used wherever an index
    /// is named, except to delete it.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown index; [`AlreadyExists`](crate::ErrorKind::AlreadyExists)
    /// when `alias` is the name of an index; [`Unsupported`](crate::ErrorKind::Unsupported) without [`Aliases`](crate::capability::Capability::Aliases).
    #[call(idempotent)]
    async fn set_alias(&self, alias: &str, index: &str) -> Result<()>;

    /// Writes documents, each inserted or replaced by its id; the outcomes come in the order of the documents.
    ///
    /// A document that fails (a field that does not fit the schema, too large) fails alone.
    ///
    /// # Errors
    /// Only when the request as a whole failed; then nothing is known to be written.
    ///
    /// # Cancellation
    /// Some documents may have been written; writing them again is harmless.
    #[call(idempotent)]
    async fn bulk(&self, index: &str, documents: Vec<Document>) -> Result<Vec<WriteOutcome>>;

    /// Deletes a document; `false` when there was none.
    #[call(idempotent)]
    async fn delete(&self, index: &str, id: &str) -> Result<bool>;

    /// The stored body of a document, or `None`. Sees every acknowledged write, also before a refresh.
    #[call(idempotent)]
    async fn get(&self, index: &str, id: &str) -> Result<Option<Value>>;

    /// Searches.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown index; [`InvalidArgument`](crate::ErrorKind::InvalidArgument)
    /// for an unknown field, a page size of 0 or beyond the limit, or a cursor that is not from this query.
    #[call(idempotent)]
    async fn search(&self, index: &str, query: Query) -> Result<RawPage>;

    /// The number of documents that are visible to searches.
    #[call(idempotent)]
    async fn count(&self, index: &str) -> Result<u64>;

    /// Makes every acknowledged write visible to searches.
    #[call(idempotent)]
    async fn refresh(&self, index: &str) -> Result<()>;
}

crate::assert_object_safe!(Search);
