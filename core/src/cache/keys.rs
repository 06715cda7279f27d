//! What can be done to a key whatever is stored under it.

use async_trait::async_trait;

use crate::backend::Backend;
use crate::error::Result;
use crate::ttl::Ttl;

/// One page of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanPage {
    /// Keys, in no particular order.
    pub keys: Vec<String>,
    /// Give it to the next call; `None` when the scan is complete.
    pub cursor: Option<String>,
}

impl ScanPage {
    /// Puts a page together.
    #[must_use]
    pub fn new(keys: Vec<String>, cursor: Option<String>) -> Self {
        Self { keys, cursor }
    }
}

/// Operations on keys of any type; the common part of [`KeyValue`](super::KeyValue), [`Hashes`](super::Hashes),
/// [`Sets`](super::Sets) and [`SortedSets`](super::SortedSets).
///
/// # Contract
/// - Keys are data: any UTF-8 from one byte to the backend's limit round-trips and stays apart from every other key.
/// - The backend's key prefix is applied to every key in the same way, and taken off what a scan returns.
/// - An operation on a key that holds another type is [`Conflict`](crate::ErrorKind::Conflict), except that a plain
///   [`set`](super::KeyValue::set) or [`set_many`](super::KeyValue::set_many) replaces whatever is there, as on Redis.
#[crate::intercept(component = "cache")]
#[async_trait]
pub trait Keys: Backend {
    /// Deletes keys, and returns how many there were.
    #[call(idempotent)]
    async fn delete(&self, keys: &[&str]) -> Result<u64>;

    /// Whether the key exists.
    #[call(idempotent)]
    async fn exists(&self, key: &str) -> Result<bool>;

    /// Sets when the key expires; `false` when there is no such key.
    #[call(idempotent)]
    async fn expire(&self, key: &str, ttl: Ttl) -> Result<bool>;

    /// How long the key will live; `None` when there is no such key.
    #[call(idempotent)]
    async fn ttl(&self, key: &str) -> Result<Option<Ttl>>;

    /// The keys that begin with `prefix` (every character of it is literal), about `limit` at a time.
    ///
    /// A key that exists during the whole scan is returned at least once; expired keys are not returned.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a cursor that did not come from this scan.
    #[call(idempotent)]
    async fn scan(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<ScanPage>;

    /// Deletes the keys that begin with `prefix`, and returns how many there were. Not atomic.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty prefix.
    #[call(idempotent)]
    async fn delete_prefix(&self, prefix: &str) -> Result<u64>;
}

crate::assert_object_safe!(Keys);
