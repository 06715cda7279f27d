//! Strings: one value of bytes per key.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Keys;
use crate::error::{Error, ErrorKind, Result};
use crate::hidden::Hidden;
use crate::ttl::Ttl;

/// What a compare-and-set expects to find.
///
/// By value rather than by version: a plain Redis string has no version, and a comparison of values needs one round trip
/// everywhere. Where the history of a key matters, use the configuration centre, whose keys have versions.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// No value.
    Absent,
    /// Exactly this value.
    Value(Bytes),
}

/// Shows the size of the value.
impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Value(value) => f.debug_tuple("Value").field(&Hidden::of(value)).finish(),
        }
    }
}

/// What a compare-and-set did.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompareAndSet {
    /// The new value is stored.
    Stored,
    /// Nothing was changed; what is stored instead.
    Mismatch {
        /// The stored value, or `None`.
        current: Option<Bytes>,
    },
}

/// Shows the size of the value.
impl fmt::Debug for CompareAndSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored => f.write_str("Stored"),
            Self::Mismatch { current } => f
                .debug_struct("Mismatch")
                .field("current", &current.as_ref().map(Hidden::of))
                .finish(),
        }
    }
}

/// Strings.
///
/// # Contract
/// - Absence is `Ok(None)`. Empty values are values.
/// - An operation that sets a value replaces the time to live too: [`Ttl::Never`] clears it.
/// - An expired value is never returned later than the backend's declared granularity.
#[crate::intercept(component = "cache")]
#[async_trait]
pub trait KeyValue: Keys {
    /// The value, or `None`.
    #[call(idempotent)]
    async fn get(&self, key: &str) -> Result<Option<Bytes>>;

    /// The values of several keys in one round trip, in their order, with `None` for each that is absent.
    #[call(idempotent)]
    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>>;

    /// Stores a value.
    #[call(idempotent)]
    async fn set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<()>;

    /// Stores several values in one round trip; a result for each, in their order. Not atomic.
    #[call(idempotent)]
    async fn set_many(&self, entries: &[(&str, Bytes)], ttl: Ttl) -> Result<Vec<Result<()>>>;

    /// Stores a value if the key is absent; whether it was.
    async fn set_if_absent(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<bool>;

    /// Stores a value and returns the one that was there.
    async fn get_set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<Option<Bytes>>;

    /// Stores a value if what is stored is what is expected.
    async fn compare_and_set(
        &self,
        key: &str,
        expected: Expected,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<CompareAndSet>;

    /// Deletes the key if its value is `expected`; whether it was.
    async fn compare_and_delete(&self, key: &str, expected: Bytes) -> Result<bool>;

    /// Adds to the number stored as decimal text, an absent one counting as 0, and returns the sum. The time to live stays.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when the value is not a 64-bit integer or the sum would not be one; nothing is changed.
    async fn incr_by(&self, key: &str, difference: i64) -> Result<i64>;
}

crate::assert_object_safe!(KeyValue);

/// Typed convenience over any [`KeyValue`]; do not implement it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use infra_core::Ttl;
/// use infra_core::cache::KeyValueExt;
///
/// let cache = infra_memory::MemoryCache::new();
/// cache.set_json("user:123", &("John", 42), Ttl::secs(600)).await?;
/// assert_eq!(cache.get_json::<(String, u32)>("user:123").await?, Some(("John".to_owned(), 42)));
/// assert_eq!(cache.get_json::<String>("user:124").await?, None);
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait KeyValueExt: KeyValue {
    /// The value read as JSON, or `None`.
    ///
    /// # Errors
    /// [`DataCorrupted`](ErrorKind::DataCorrupted) names a key whose value is not a `T`.
    async fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let Some(bytes) = self.get(key).await? else {
            return Ok(None);
        };
        crate::json::decode(&bytes).map(Some).map_err(|misfit| {
            Error::new(
                ErrorKind::DataCorrupted,
                format!("the value of key {key:?} is not of the requested type: {misfit}"),
            )
        })
    }

    /// Stores a value as JSON.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) when it cannot be written as JSON.
    async fn set_json<T: Serialize + Sync + ?Sized>(&self, key: &str, value: &T, ttl: Ttl) -> Result<()> {
        let bytes = serde_json::to_vec(value).map_err(|source| {
            Error::invalid_argument(format!("the value for key {key:?} cannot be written as JSON"))
                .with_source(source)
        })?;
        self.set(key, bytes.into(), ttl).await
    }

    /// Subtracts from the number; as [`KeyValue::incr_by`].
    ///
    /// # Errors
    /// As [`KeyValue::incr_by`]; also for `i64::MIN`, whose opposite is no 64-bit integer.
    async fn decr_by(&self, key: &str, difference: i64) -> Result<i64> {
        let opposite = difference
            .checked_neg()
            .ok_or_else(|| Error::invalid_argument("a difference of i64::MIN cannot be subtracted"))?;
        self.incr_by(key, opposite).await
    }
}

impl<C: KeyValue + ?Sized> KeyValueExt for C {}
