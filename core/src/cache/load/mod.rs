//! Read-through loading over any [`KeyValue`]: one load per key at a time, absence remembered, refreshed early, stale
//! served when loading fails.
//!
//! Touches the cache, the locks if given, and tokio's tasks and clock.

mod envelope;
mod flight;
mod options;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::envelope::{Age, Clock, Envelope, milliseconds};
use self::flight::{FlightGuard, Flights, Outcome, Purpose};
use super::KeyValue;
use crate::coordination::{LockGuard, LockOptions, Locks};
use crate::error::{Error, ErrorKind, Result};
use crate::telemetry::spawn_traced;
use crate::ttl::Ttl;

pub use options::LoadOptions;

/// How long the lease of a cluster-wide load lasts unless renewed; it is renewed while the load runs.
const LOAD_LEASE: Duration = Duration::from_secs(10);

/// How long a failed early refresh holds off the next one of its key.
const REFRESH_HOLD_OFF: Duration = Duration::from_secs(1);

/// Reads through a cache: gives what is cached, and otherwise loads it, caches it and gives it.
///
/// # Contract
/// - **One load at a time per key** in this process, however many callers wait; and in the whole cluster with
///   [`with_cluster_locks`](Self::with_cluster_locks).
/// - The load runs in a task of its own. A caller that goes away does not stop it for the others; a loader that panics,
///   or takes longer than [`LoadOptions::load_timeout`], fails for all who wait, and the next caller starts anew.
/// - A loader's error is given to all who wait and is **not cached**. `Ok(None)` is remembered for
///   [`LoadOptions::negative_ttl`].
/// - A value that is about to expire is loaded anew in the background ([`LoadOptions::refresh_ahead`]); one that expired
///   is served when its loader fails ([`LoadOptions::stale_for`]).
/// - A cache that cannot be reached does not stop the service: the loader is asked, and a warning is logged.
/// - The keys belong to the loader: a value that something else stored there, or that is not of the requested type
///   (any more), is loaded anew and replaced.
///
/// Clones share their loads.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use infra_core::cache::{CacheLoader, LoadOptions};
///
/// let cache = Arc::new(infra_memory::MemoryCache::new());
/// let users = CacheLoader::new(cache, LoadOptions::new(Duration::from_secs(600)))?;
///
/// // Business code asks for the value and says how it is found.
/// let name = users.get_or_load("user:1:name", || async { Ok(Some("Ann".to_owned())) }).await?;
/// assert_eq!(name.as_deref(), Some("Ann"));
///
/// // Now it is cached: this loader is not called.
/// let name = users.get_or_load::<String, _, _>("user:1:name", || async { unreachable!() }).await?;
/// assert_eq!(name.as_deref(), Some("Ann"));
///
/// // After a change, the old value is forgotten.
/// users.invalidate("user:1:name").await?;
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct CacheLoader {
    cache: Arc<dyn KeyValue>,
    locks: Option<Arc<dyn Locks>>,
    options: LoadOptions,
    clock: Arc<Clock>,
    flights: Arc<Flights>,
}

impl CacheLoader {
    /// A loader that caches in `cache`.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) names every option that cannot work, by itself or with this cache.
    pub fn new(cache: Arc<dyn KeyValue>, options: LoadOptions) -> Result<Self> {
        options
            .check_with(cache.capabilities().limits())
            .map_err(|error| error.at("cache", cache.backend(), "load"))?;
        Ok(Self {
            cache,
            locks: None,
            options,
            clock: Arc::new(Clock::new()),
            flights: Arc::default(),
        })
    }

    /// Loads each key once at a time in the whole cluster, under the lock `load:` + key.
    ///
    /// The lock spares loads, nothing depends on it: when it cannot be had in time, the value is loaded without it.
    #[must_use]
    pub fn with_cluster_locks(mut self, locks: Arc<dyn Locks>) -> Self {
        self.locks = Some(locks);
        self
    }

    /// The value from the cache, or else from `load`, which is cached; `None` when there is none.
    ///
    /// # Errors
    /// What the loader gave, unless a stale value may be served; [`Timeout`](ErrorKind::Timeout) when it took too long;
    /// [`Internal`](ErrorKind::Internal) when it panicked; [`InvalidArgument`](ErrorKind::InvalidArgument) for the key,
    /// or for a value that cannot be written as JSON; [`DataCorrupted`](ErrorKind::DataCorrupted) when callers that ask
    /// for different types met in one load; [`Closed`](ErrorKind::Closed) after the cache's shutdown.
    ///
    /// # Cancellation
    /// Dropping the future abandons the wait. A load that was begun goes on and is cached.
    pub async fn get_or_load<T, L, F>(&self, key: &str, load: L) -> Result<Option<T>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<T>>> + Send + 'static,
    {
        let begun = match self.look(key).await? {
            Some((envelope, age @ (Age::Fresh | Age::Due))) if let Some(value) = read(key, &envelope) => {
                if age == Age::Due {
                    self.begin(key, Purpose::Refresh, load);
                }
                return Ok(value);
            }
            _ => self.begin(key, Purpose::Miss, load),
        };
        let json = begun.outcome().await?;
        json.map(|json| crate::json::decode(&json)).transpose().map_err(|misfit| {
            Error::new(
                ErrorKind::DataCorrupted,
                format!("key {key:?} was loaded as another type than is asked for ({misfit}); use one type per key, which reads what it writes"),
            )
            .at("cache", self.cache.backend(), "load")
        })
    }

    /// Forgets the value of a key, so that the next caller loads it; a load under way gives its waiters what it found,
    /// but does not cache it. Whether something was forgotten.
    ///
    /// Call it after the change is committed. A load under way in *another* process may still cache what it read before.
    ///
    /// # Errors
    /// Those of the cache.
    pub async fn invalidate(&self, key: &str) -> Result<bool> {
        self.flights.overtake(key);
        let deleted = self.cache.delete(&[key]).await?;
        Ok(deleted > 0)
    }

    /// Joins the load of this key, or starts it in a task.
    fn begin<T, L, F>(&self, key: &str, purpose: Purpose, load: L) -> Arc<flight::Flight>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<T>>> + Send + 'static,
    {
        let (flight, guard) = self.flights.join(key, purpose);
        if let Some(guard) = guard {
            let (loader, key) = (self.clone(), key.to_owned());
            spawn_traced(async move { loader.fly(&key, purpose, load, guard).await });
        }
        flight
    }

    async fn fly<T, L, F>(&self, key: &str, purpose: Purpose, load: L, guard: FlightGuard)
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<T>>> + Send + 'static,
    {
        let lock = self.lock_in_cluster(key).await;
        let (outcome, failed) = self.load_unless_done(key, load, &guard).await;
        if let (Purpose::Refresh, Err(error)) = (purpose, &outcome) {
            tracing::warn!(key, %error, "a value could not be refreshed");
        }
        guard.flight.land(outcome);
        if let Some(lock) = lock
            && let Err(error) = lock.release().await
        {
            tracing::debug!(key, %error, "the lock of a load was not released; it ends by its time to live");
        }
        if failed && purpose == Purpose::Refresh {
            tokio::time::sleep(REFRESH_HOLD_OFF).await;
        }
    }

    /// Loads, unless somebody was faster: another flight that ended between our look and this one's start, or another
    /// process that had the lock. Also says whether the loader failed, which the outcome hides when the cached value
    /// may be served instead.
    async fn load_unless_done<T, L, F>(&self, key: &str, load: L, guard: &FlightGuard) -> (Outcome, bool)
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<Option<T>>> + Send + 'static,
    {
        let current = match self.look(key).await {
            Ok(current) => current.filter(|(envelope, _)| read::<T>(key, envelope).is_some()),
            Err(error) => return (Err(error), false),
        };
        if let Some((envelope, Age::Fresh)) = current {
            return (Ok(envelope.value), false);
        }
        match (self.load(key, load).await, current) {
            (Ok(value), _) => {
                self.store_unless_overtaken(key, value.clone(), guard).await;
                (Ok(value), false)
            }
            (Err(error), Some((envelope, age))) if self.may_serve(age) => {
                tracing::warn!(key, %error, "a value could not be loaded; the cached one is served instead");
                (Ok(envelope.value), true)
            }
            (Err(error), _) => (Err(error), true),
        }
    }

    /// Calls the loader, within its time, and survives its panic.
    async fn load<T, L, F>(&self, key: &str, load: L) -> Outcome
    where
        T: Serialize,
        L: FnOnce() -> F,
        F: Future<Output = Result<Option<T>>>,
    {
        let failed = |kind, message| Error::new(kind, message).at("cache", self.cache.backend(), "load");
        // The closure runs inside too, so that its panic is caught as well.
        let loading = AssertUnwindSafe(async { load().await }).catch_unwind();
        let timeout = self.options.load_timeout;
        let value = tokio::time::timeout(timeout, loading)
            .await
            .map_err(|_| {
                let message = format!(
                    "loading key {key:?} took longer than {timeout:?}; make the loader faster or raise load_timeout"
                );
                failed(ErrorKind::Timeout, message)
            })?
            .map_err(|_| {
                failed(
                    ErrorKind::Internal,
                    format!("the loader of key {key:?} panicked"),
                )
            })??;
        value
            .map(|value| serde_json::to_vec(&value).map(Bytes::from))
            .transpose()
            .map_err(|source| {
                let message = format!("the value loaded for key {key:?} cannot be written as JSON");
                failed(ErrorKind::InvalidArgument, message).with_source(source)
            })
    }

    /// What is cached; nothing when the cache is unwell, and an error only where the caller or a shutdown is the cause.
    async fn look(&self, key: &str) -> Result<Option<(Envelope, Age)>> {
        match self.cache.get(key).await {
            Ok(bytes) => Ok(bytes.and_then(|bytes| {
                let envelope = Envelope::decode(&bytes)?;
                let age = envelope.age(self.clock.now());
                Some((envelope, age))
            })),
            Err(error) if error.kind().is_caller_fault() || error.kind() == ErrorKind::Closed => Err(error),
            Err(error) => {
                tracing::warn!(key, %error, "the cache cannot be read; asking the loader");
                Ok(None)
            }
        }
    }

    async fn store_unless_overtaken(&self, key: &str, value: Option<Bytes>, guard: &FlightGuard) {
        if guard.flight.is_overtaken() {
            return;
        }
        self.store(key, value).await;
        // Invalidated while it was being stored: whichever came last in the cache, the old value must not stay.
        if guard.flight.is_overtaken()
            && let Err(error) = self.cache.delete(&[key]).await
        {
            tracing::warn!(key, %error, "an invalidated value may be in the cache until it expires");
        }
    }

    /// Caches what was loaded, best effort: the callers get it in any case.
    async fn store(&self, key: &str, value: Option<Bytes>) {
        let limits = *self.cache.capabilities().limits();
        let options = &self.options;
        let stored = if value.is_none() && options.negative_ttl.is_zero() {
            self.cache.delete(&[key]).await.map(|_| ())
        } else {
            let (fresh_for, ahead, stale_for) = if value.is_some() {
                (options.ttl, options.refresh_ahead, options.stale_for)
            } else {
                (options.negative_ttl, 0.0, Duration::ZERO)
            };
            let fresh_for = options.jittered(fresh_for, &limits);
            let now = self.clock.now();
            let envelope = Envelope {
                refresh_from: now.saturating_add(milliseconds(fresh_for.mul_f64(1.0 - ahead))),
                fresh_until: now.saturating_add(milliseconds(fresh_for)),
                value,
            };
            let ttl = Ttl::After(fresh_for.saturating_add(stale_for).min(limits.max_ttl));
            self.cache.set(key, envelope.encode(), ttl).await
        };
        if let Err(error) = stored {
            tracing::warn!(key, %error, "a loaded value could not be cached");
        }
    }

    fn may_serve(&self, age: Age) -> bool {
        match age {
            Age::Fresh | Age::Due => true,
            Age::Stale { for_milliseconds } => for_milliseconds < milliseconds(self.options.stale_for),
        }
    }

    async fn lock_in_cluster(&self, key: &str) -> Option<LockGuard> {
        let locks = self.locks.as_ref()?;
        let options = LockOptions::new(LOAD_LEASE).with_wait(self.options.load_timeout);
        match locks.acquire(&format!("load:{key}"), options).await {
            Ok(guard) => Some(guard),
            Err(error) => {
                tracing::warn!(key, %error, "the lock of a load cannot be had; loading without it");
                None
            }
        }
    }
}

/// The value of an entry; `None` when it is not a `T`.
fn read<T: DeserializeOwned>(key: &str, envelope: &Envelope) -> Option<Option<T>> {
    let Some(json) = &envelope.value else {
        return Some(None);
    };
    match crate::json::decode(json) {
        Ok(value) => Some(Some(value)),
        Err(misfit) => {
            tracing::warn!(
                key,
                misfit,
                "a cached value is not of the requested type; loading it anew"
            );
            None
        }
    }
}
