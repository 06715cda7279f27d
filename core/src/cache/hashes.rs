//! Hashes: named fields under one key.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use super::Keys;
use crate::error::Result;

/// Hashes. A hash without fields does not exist.
#[crate::intercept(component = "cache")]
#[async_trait]
pub trait Hashes: Keys {
    /// The value of a field, or `None`.
    #[call(idempotent)]
    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>>;

    /// All fields.
    #[call(idempotent)]
    async fn hash_get_all(&self, key: &str) -> Result<BTreeMap<String, Bytes>>;

    /// Sets fields, and returns how many are new. The time to live of the key stays.
    #[call(idempotent)]
    async fn hash_set(&self, key: &str, fields: &[(&str, Bytes)]) -> Result<u64>;

    /// Deletes fields, and returns how many there were.
    #[call(idempotent)]
    async fn hash_delete(&self, key: &str, fields: &[&str]) -> Result<u64>;

    /// Whether the field exists.
    #[call(idempotent)]
    async fn hash_exists(&self, key: &str, field: &str) -> Result<bool>;

    /// The number of fields.
    #[call(idempotent)]
    async fn hash_len(&self, key: &str) -> Result<u64>;

    /// Adds to the number in a field, an absent one counting as 0, and returns the sum.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) as in [`KeyValue::incr_by`](super::KeyValue::incr_by).
    async fn hash_incr_by(&self, key: &str, field: &str, difference: i64) -> Result<i64>;
}

crate::assert_object_safe!(Hashes);
