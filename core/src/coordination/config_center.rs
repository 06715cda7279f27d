//! The configuration centre: small values, versioned, watched.

use std::collections::BTreeSet;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::Backend;
use crate::capability::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::watch::Watch;

/// The version of a key: greater after every change of it, never 0.
///
/// 0 stands for "not there" in a compare-and-set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version of a key that does not exist.
    pub const ABSENT: Self = Self(0);
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key with its value and version.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigEntry {
    /// The key.
    pub key: String,
    /// The value, as bytes; usually JSON.
    pub value: Bytes,
    /// The version of this value.
    pub version: Version,
}

/// Shows the length of the value only: configuration may hold secrets.
impl fmt::Debug for ConfigEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigEntry")
            .field("key", &self.key)
            .field("version", &self.version)
            .field("value_bytes", &self.value.len())
            .finish()
    }
}

impl ConfigEntry {
    /// Puts an entry together.
    #[must_use]
    pub fn new(key: impl Into<String>, value: Bytes, version: Version) -> Self {
        Self {
            key: key.into(),
            value,
            version,
        }
    }

    /// Reads the value as JSON.
    ///
    /// # Errors
    /// [`DataCorrupted`](ErrorKind::DataCorrupted) names the key, and the place in the document where it does not fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        crate::json::decode(&self.value).map_err(|misfit| {
            Error::new(
                ErrorKind::DataCorrupted,
                format!("the value of configuration key {:?} is not of the requested type: {misfit}; correct it there", self.key),
            )
        })
    }
}

/// What is watched or listed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchScope {
    /// One key.
    Key(String),
    /// Every key that begins with this text, those created later included. `a/` does not match `a-b`.
    Prefix(String),
}

impl WatchScope {
    /// Whether a key lies in this scope.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::Key(only) => only == key,
            Self::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

impl WatchScope {
    /// Refuses a key or prefix that the backend does not accept; the empty prefix means all keys. For backends.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument).
    pub fn check(&self, limits: &Limits) -> Result<()> {
        match self {
            Self::Key(key) => limits.check_key("configuration key", key),
            Self::Prefix(prefix) if prefix.is_empty() => Ok(()),
            Self::Prefix(prefix) => limits.check_key("configuration key prefix", prefix),
        }
    }
}

/// One write of a transaction.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigWrite {
    /// Sets a key, if its version is still `expected` where one is given ([`Version::ABSENT`]: only if it is not there).
    Set {
        /// The key.
        key: String,
        /// Its new value.
        value: Bytes,
        /// The version that it must have, or any.
        expected: Option<Version>,
    },
    /// Deletes a key, under the same condition.
    Delete {
        /// The key.
        key: String,
        /// The version that it must have, or any.
        expected: Option<Version>,
    },
}

/// Shows the length of the value only: configuration may hold secrets.
impl fmt::Debug for ConfigWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct(if self.value().is_some() { "Set" } else { "Delete" });
        shown.field("key", &self.key());
        if let Some(value) = self.value() {
            shown.field("value_bytes", &value.len());
        }
        shown.field("expected", &self.expected()).finish()
    }
}

impl ConfigWrite {
    /// Sets a key whatever its version.
    #[must_use]
    pub fn set(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::Set {
            key: key.into(),
            value: value.into(),
            expected: None,
        }
    }

    /// Sets a key only if its version is still `expected`.
    #[must_use]
    pub fn compare_and_set(key: impl Into<String>, value: impl Into<Bytes>, expected: Version) -> Self {
        Self::Set {
            key: key.into(),
            value: value.into(),
            expected: Some(expected),
        }
    }

    /// Deletes a key, there or not.
    #[must_use]
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete {
            key: key.into(),
            expected: None,
        }
    }

    /// Deletes a key only if its version is still `expected`.
    #[must_use]
    pub fn compare_and_delete(key: impl Into<String>, expected: Version) -> Self {
        Self::Delete {
            key: key.into(),
            expected: Some(expected),
        }
    }

    /// Refuses what no backend takes: no write at all or too many, a key written twice, a key or value outside the limits.
    /// For backends.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument).
    pub fn check(writes: &[Self], limits: &Limits) -> Result<()> {
        if writes.is_empty() || writes.len() > limits.max_transaction_writes {
            return Err(Error::invalid_argument(format!(
                "a transaction of {} writes; give 1 to {}",
                writes.len(),
                limits.max_transaction_writes
            )));
        }
        let mut keys = BTreeSet::new();
        for write in writes {
            limits.check_key("configuration key", write.key())?;
            if let Some(value) = write.value() {
                limits.check_value("configuration value", value.len())?;
            }
            if !keys.insert(write.key()) {
                return Err(Error::invalid_argument(format!(
                    "configuration key {:?} is written twice in one transaction; write it once",
                    write.key()
                )));
            }
        }
        Ok(())
    }

    /// The refusal of a transaction since this key has another version than expected. For backends.
    #[must_use]
    pub fn conflict(&self, expected: Version, current: Version) -> Error {
        Error::new(
            ErrorKind::Conflict,
            format!(
                "configuration key {:?} has version {current}, not the expected {expected} (0 means not there); nothing was written: read it again and decide anew",
                self.key()
            ),
        )
        .without_effect()
    }

    /// The key that is written.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Set { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// The new value, or `None` for a deletion.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Set { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }

    /// The version that the key must have, or `None` for any.
    #[must_use]
    pub fn expected(&self) -> Option<Version> {
        match self {
            Self::Set { expected, .. } | Self::Delete { expected, .. } => *expected,
        }
    }
}

/// The configuration centre.
///
/// # Contract
/// - Keys are data: any UTF-8 that is not refused round-trips; nothing is normalised, nothing escapes a prefix.
/// - `read` gives all entries of a scope at one revision; a watch from that revision misses nothing.
/// - A watch tells each change once, in order. Where [`WatchFromRevision`](crate::capability::Capability::WatchFromRevision) is not
///   declared, the server keeps no history: of changes of one key that follow each other at once the last one may stand for all.
/// - Compaction, reconnection and restart of the server do not end a watch; [`Reset`](crate::watch::WatchEvent::Reset)
///   says that history was lost.
#[crate::intercept(component = "config_center")]
#[async_trait]
pub trait ConfigCenter: Backend {
    /// The entries of a scope, ordered by key, and the revision to watch from. No entry is no error.
    #[call(idempotent)]
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)>;

    /// Applies all writes, or none; returns the version that the written keys now have.
    ///
    /// Deleting a key that is not there is no error, and no event. Writing the value that a key already has is a change
    /// to some servers (etcd) and none to others (Consul): do not count on an event or on a new version.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) names the first key whose version is not the expected one, and nothing was
    /// written; [`InvalidArgument`](ErrorKind::InvalidArgument) for no write at all, a key written twice, a refused key or
    /// value, or more writes than the server takes at once (64 fit every one of them);
    /// [`Unsupported`](ErrorKind::Unsupported) for more than one write without
    /// [`ConfigTransactions`](crate::capability::Capability::ConfigTransactions).
    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<Version>;

    /// Watches a scope from just after `revision`, which came with a [`read`](ConfigCenter::read) or from a version.
    ///
    /// A revision whose history is gone, or that this server never reached, begins with
    /// [`Reset`](crate::watch::WatchEvent::Reset).
    #[call(idempotent)]
    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>>;
}

crate::assert_object_safe!(ConfigCenter);

/// Typed convenience over any [`ConfigCenter`]; do not implement it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use infra_core::coordination::{ConfigCenterExt, Version};
///
/// let center = infra_memory::MemoryCoordinator::new();
/// let first = center.compare_and_set("app/limits", &[10, 20], Version::ABSENT).await?;
/// let (limits, version) = center.get_versioned::<Vec<u32>>("app/limits").await?.expect("just written");
/// assert_eq!((limits, version), (vec![10, 20], first));
/// assert_eq!(center.get::<Vec<u32>>("app/other").await?, None);
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait ConfigCenterExt: ConfigCenter {
    /// The entry of a key, or `None`.
    ///
    /// # Errors
    /// The backend's.
    async fn entry(&self, key: &str) -> Result<Option<ConfigEntry>> {
        let (entries, _) = self.read(&WatchScope::Key(key.to_owned())).await?;
        Ok(entries.into_iter().next())
    }

    /// The value of a key, or `None`.
    ///
    /// # Errors
    /// [`DataCorrupted`](ErrorKind::DataCorrupted) names a key whose value is not a `T`.
    async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.entry(key).await?.map(|entry| entry.decode()).transpose()
    }

    /// The value of a key with its version, or `None`.
    ///
    /// # Errors
    /// As [`ConfigCenterExt::get`].
    async fn get_versioned<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, Version)>> {
        self.entry(key)
            .await?
            .map(|entry| Ok((entry.decode()?, entry.version)))
            .transpose()
    }

    /// Sets a key, as JSON.
    ///
    /// # Errors
    /// The backend's, or [`InvalidArgument`](ErrorKind::InvalidArgument) when the value cannot be written as JSON.
    async fn set<T: Serialize + Sync + ?Sized>(&self, key: &str, value: &T) -> Result<Version> {
        self.write(vec![ConfigWrite::set(key, json(key, value)?)]).await
    }

    /// Sets a key if its version is still `expected`; [`Version::ABSENT`] creates it.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) when it is not.
    async fn compare_and_set<T: Serialize + Sync + ?Sized>(
        &self,
        key: &str,
        value: &T,
        expected: Version,
    ) -> Result<Version> {
        self.write(vec![ConfigWrite::compare_and_set(
            key,
            json(key, value)?,
            expected,
        )])
        .await
    }

    /// Deletes a key, there or not.
    ///
    /// # Errors
    /// The backend's.
    async fn delete(&self, key: &str) -> Result<()> {
        self.write(vec![ConfigWrite::delete(key)]).await.map(drop)
    }

    /// The entries whose keys begin with `prefix`, ordered by key.
    ///
    /// # Errors
    /// The backend's.
    async fn list(&self, prefix: &str) -> Result<Vec<ConfigEntry>> {
        Ok(self.read(&WatchScope::Prefix(prefix.to_owned())).await?.0)
    }

    /// The entries whose keys begin with `prefix`, and a watch of that prefix that continues from exactly there.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures_util::StreamExt;
    /// use infra_core::coordination::ConfigCenterExt;
    /// use infra_core::watch::WatchEvent;
    ///
    /// let center = infra_memory::MemoryCoordinator::new();
    /// center.set("rules/login", "1/s").await?;
    /// let (rules, mut changes) = center.list_and_watch("rules/").await?;
    /// assert_eq!(rules.len(), 1);
    ///
    /// center.set("rules/send", "30/s").await?;
    /// assert!(matches!(changes.next().await, Some(WatchEvent::Put(rule)) if rule.key == "rules/send"));
    /// # Ok::<(), infra_core::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    /// Those of [`ConfigCenter::read`] and [`ConfigCenter::watch`].
    ///
    /// # Cancellation
    /// Dropping the future leaves nothing behind.
    async fn list_and_watch(&self, prefix: &str) -> Result<(Vec<ConfigEntry>, Watch<ConfigEntry>)> {
        let scope = WatchScope::Prefix(prefix.to_owned());
        let (entries, revision) = self.read(&scope).await?;
        Ok((entries, self.watch(&scope, revision).await?))
    }
}

impl<C: ConfigCenter + ?Sized> ConfigCenterExt for C {}

fn json<T: Serialize + ?Sized>(key: &str, value: &T) -> Result<Bytes> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|source| {
        Error::invalid_argument(format!(
            "the value for configuration key {key:?} cannot be written as JSON"
        ))
        .with_source(source)
    })
}
