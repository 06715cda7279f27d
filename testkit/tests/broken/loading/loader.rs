//! A loader that is written plainly, so that each defect is one branch.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use infra_core::cache::{Cache, LoadOptions};
use infra_core::coordination::LockOptions;
use infra_core::{Error, ErrorKind, Result, Ttl, async_trait};
use infra_testkit::conformance::loading::{Load, Loads};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Defect;

/// The loader.
#[derive(Debug)]
pub(super) struct Plain(Arc<Inner>);

impl Plain {
    pub(super) fn new(
        defect: Defect,
        epoch: Instant,
        cache: Arc<dyn Cache>,
        options: LoadOptions,
        locks: bool,
    ) -> Self {
        Self(Arc::new(Inner {
            defect,
            epoch,
            cache,
            options,
            locks,
            flights: Mutex::default(),
            one_at_a_time: tokio::sync::Mutex::default(),
            stored: Mutex::default(),
        }))
    }
}

struct Inner {
    defect: Defect,
    epoch: Instant,
    cache: Arc<dyn Cache>,
    options: LoadOptions,
    locks: bool,
    flights: Mutex<HashMap<String, Arc<Flight>>>,
    one_at_a_time: tokio::sync::Mutex<()>,
    /// The keys that this process stored.
    stored: Mutex<Vec<String>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner")
            .field("defect", &self.defect)
            .finish_non_exhaustive()
    }
}

type Loaded = Result<Option<Value>>;

#[derive(Debug)]
struct Flight {
    outcome: watch::Sender<Option<Loaded>>,
    passengers: AtomicUsize,
    overtaken: AtomicBool,
}

/// An entry of the cache: refresh from, fresh until (milliseconds of the common clock), and the value.
type Entry = (u64, u64, Option<Value>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T: DeserializeOwned>(value: Option<Value>) -> std::result::Result<Option<T>, serde_json::Error> {
    value.map(serde_json::from_value).transpose()
}

impl Inner {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// The key in the cache.
    fn place(&self, key: &str) -> String {
        if self.is(Defect::FoldsCase) {
            return key.to_lowercase();
        }
        key.to_owned()
    }

    async fn look<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Entry>> {
        let bytes = match self.cache.get(key).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => {
                let fatal = match error.kind() {
                    ErrorKind::InvalidArgument => !self.is(Defect::LoadsWrongKeys),
                    ErrorKind::Closed => !self.is(Defect::LoadsAfterShutdown),
                    _ => self.is(Defect::FailsWithCache),
                };
                return if fatal { Err(error) } else { Ok(None) };
            }
        };
        let foreign = || !lock(&self.stored).iter().any(|stored| stored == key);
        if self.is(Defect::TrustsOnlyItself) && !self.locks && foreign() {
            return Ok(None);
        }
        let unreadable = || Err(Error::new(ErrorKind::DataCorrupted, "the entry cannot be read"));
        let Ok(entry) = serde_json::from_slice::<Entry>(&bytes) else {
            return if self.is(Defect::CorruptIsOutage) {
                unreadable()
            } else {
                Ok(None)
            };
        };
        match read::<T>(entry.2.clone()) {
            Ok(_) => Ok(Some(entry)),
            Err(_) if self.is(Defect::AnotherTypeIsOutage) => unreadable(),
            Err(_) => Ok(None),
        }
    }

    /// Asks the loader, within its time.
    async fn ask<T: Serialize>(&self, load: Load<T>) -> Loaded {
        let _alone = match self.is(Defect::OneAtATime) {
            true => Some(self.one_at_a_time.lock().await),
            false => None,
        };
        let loading = AssertUnwindSafe(async { load().await }).catch_unwind();
        let limit = match self.is(Defect::WaitsForEver) {
            true => Duration::from_secs(24 * 3600),
            false => self.options.load_timeout,
        };
        let value = match tokio::time::timeout(limit, loading).await {
            Err(_) => return Err(Error::new(ErrorKind::Timeout, "the loader took too long")),
            Ok(Err(_)) if self.is(Defect::PanicsForEver) => std::future::pending().await,
            Ok(Err(_)) => return Err(Error::new(ErrorKind::Internal, "the loader panicked")),
            Ok(Ok(value)) => value?,
        };
        let value = value.map(serde_json::to_value).transpose();
        value.map_err(|_| Error::invalid_argument("the value is no JSON"))
    }

    async fn store(&self, key: &str, value: Option<Value>) -> Result<()> {
        let options = &self.options;
        let whole = match &value {
            Some(_) => options.ttl,
            None if self.is(Defect::AbsenceAsValue) && !options.negative_ttl.is_zero() => options.ttl,
            None if options.negative_ttl.is_zero() && self.is(Defect::ZeroIsDefault) => {
                Duration::from_secs(30)
            }
            None => options.negative_ttl,
        };
        if whole.is_zero() {
            return self.cache.delete(&[key]).await.map(|_| ());
        }
        let chance = match self.defect {
            Defect::NoChance => 0.0,
            Defect::ChanceLengthens => options.jitter * (fastrand::f64() * 2.0 - 1.0),
            _ => options.jitter * fastrand::f64(),
        };
        let mut fresh = whole.mul_f64(1.0 - chance);
        let simple = options.jitter == 0.0 && options.stale_for.is_zero();
        if self.is(Defect::KeepsTwiceAsLong) && value.is_some() && simple {
            fresh *= 2;
        }
        let ahead = fresh.mul_f64(1.0 - options.refresh_ahead).as_millis() as u64;
        let now = self.now();
        let entry: Entry = (now + ahead, now + fresh.as_millis() as u64, value);
        let text = serde_json::to_vec(&entry).map_err(|_| Error::invalid_argument("the entry is no JSON"))?;
        let ttl = match self.is(Defect::AlwaysStale) && !options.stale_for.is_zero() {
            true => Ttl::Never,
            false => Ttl::After(fresh + options.stale_for),
        };
        lock(&self.stored).push(key.to_owned());
        self.cache.set(key, Bytes::from(text), ttl).await
    }

    /// Carries a load out.
    async fn carry_out<T>(&self, key: &str, load: Load<T>, flight: &Flight) -> Loaded
    where
        T: Serialize + DeserializeOwned,
    {
        let wants_lock = self.locks && !self.is(Defect::IgnoresLocks);
        let held = match wants_lock {
            true => {
                let options = LockOptions::new(Duration::from_secs(10)).with_wait(self.options.load_timeout);
                let held = self.cache.acquire(&format!("load:{key}"), options).await;
                match held {
                    Err(error) if self.is(Defect::InsistsOnLocks) => return Err(error),
                    other => other.ok(),
                }
            }
            false => None,
        };
        let outcome = self.load_and_store(key, load, flight).await;
        if let Some(held) = held {
            held.release().await?;
        }
        outcome
    }

    async fn load_and_store<T>(&self, key: &str, load: Load<T>, flight: &Flight) -> Loaded
    where
        T: Serialize + DeserializeOwned,
    {
        let current = self.look::<T>(key).await?;
        if let Some((refresh_from, _, value)) = &current
            && self.now() < *refresh_from
        {
            return Ok(value.clone());
        }
        let overtaken = || flight.overtaken.load(Ordering::SeqCst) && !self.is(Defect::StoresOvertaken);
        match (self.ask(load).await, current) {
            (Ok(value), _) if overtaken() => Ok(value),
            (Ok(value), _) => match self.store(key, value.clone()).await {
                Err(error)
                    if self.is(Defect::InsistsOnCaching) && error.kind() == ErrorKind::ResourceExhausted =>
                {
                    Err(error)
                }
                _ => Ok(value),
            },
            (Err(_), Some((_, fresh_until, value))) if self.may_serve(fresh_until) => {
                if self.is(Defect::FailedRefreshForgets) && self.now() < fresh_until {
                    self.cache.delete(&[key]).await?;
                }
                Ok(value)
            }
            (Err(error), _) => {
                let loaders_own = error.kind() == ErrorKind::PermissionDenied;
                if self.is(Defect::CachesErrors) && loaders_own {
                    self.store(key, None).await?;
                }
                Err(error)
            }
        }
    }

    fn may_serve(&self, fresh_until: u64) -> bool {
        let now = self.now();
        let stale_for = self.options.stale_for;
        match self.defect {
            _ if now < fresh_until => true,
            _ if stale_for.is_zero() => false,
            Defect::NeverStale => false,
            Defect::AlwaysStale => true,
            _ => now - fresh_until < stale_for.as_millis() as u64,
        }
    }

    /// The load of this key that is under way, and whether it is new.
    fn join(&self, key: &str) -> (Arc<Flight>, bool) {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(key) {
            let full = flight.passengers.fetch_add(1, Ordering::SeqCst) >= 32;
            if !(full && self.is(Defect::SharesWithFew)) {
                return (Arc::clone(flight), false);
            }
        }
        let flight = Arc::new(Flight {
            outcome: watch::Sender::new(None),
            passengers: AtomicUsize::new(1),
            overtaken: AtomicBool::new(false),
        });
        flights.insert(key.to_owned(), Arc::clone(&flight));
        (flight, true)
    }

    fn leave(&self, key: &str, flight: &Arc<Flight>) {
        let mut flights = lock(&self.flights);
        if flights
            .get(key)
            .is_some_and(|current| Arc::ptr_eq(current, flight))
        {
            flights.remove(key);
        }
    }

    async fn fly<T>(self: Arc<Self>, key: String, load: Load<T>, flight: Arc<Flight>)
    where
        T: Serialize + DeserializeOwned,
    {
        let outcome = self.carry_out(&key, load, &flight).await;
        flight.outcome.send_replace(Some(outcome));
        self.leave(&key, &flight);
    }

    /// Waits for the load of this key, which is begun unless one is under way.
    async fn loaded<T>(self: &Arc<Self>, key: &str, load: Load<T>) -> Loaded
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let (flight, new) = self.join(key);
        let mut outcome = flight.outcome.subscribe();
        if new {
            let flying = Arc::clone(self).fly(key.to_owned(), load, Arc::clone(&flight));
            self.run(flying, key, &flight).await;
        }
        let outcome = outcome.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        let outcome = outcome.unwrap_or_else(|| Err(Error::new(ErrorKind::Cancelled, "abandoned")));
        let loaders_own = |error: &Error| error.kind() == ErrorKind::PermissionDenied;
        match outcome {
            Err(error) if !new && self.is(Defect::HidesFromWaiters) && loaders_own(&error) => {
                Err(Error::new(ErrorKind::Unavailable, "the load failed"))
            }
            other => other,
        }
    }

    async fn run(
        self: &Arc<Self>,
        flying: impl Future<Output = ()> + Send + 'static,
        key: &str,
        flight: &Arc<Flight>,
    ) {
        if !self.is(Defect::LoadsInTheCaller) {
            tokio::spawn(flying);
            return;
        }
        let landing = Landing(Arc::clone(self), key.to_owned(), Arc::clone(flight));
        flying.await;
        drop(landing);
    }

    async fn get<T>(self: &Arc<Self>, key: &str, load: Load<T>) -> Result<Option<T>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let key = &self.place(key);
        if let Some((refresh_from, fresh_until, value)) = self.look::<T>(key).await? {
            let now = self.now();
            let stale = now >= fresh_until;
            let serves = !stale || self.is(Defect::StaleWhileLoading) && self.may_serve(fresh_until);
            if serves && now >= refresh_from && !self.is(Defect::RefreshesInFront) {
                let (loader, key) = (Arc::clone(self), key.clone());
                tokio::spawn(async move { loader.loaded(&key, load).await });
                return self.typed(value);
            }
            if serves && now < refresh_from {
                return self.typed(value);
            }
        }
        let value = self.loaded(key, load).await?;
        self.typed(value)
    }

    fn typed<T: DeserializeOwned>(&self, value: Option<Value>) -> Result<Option<T>> {
        match read(value.clone()) {
            Ok(value) => Ok(value),
            Err(_) if self.is(Defect::AnotherTypeIsAbsent) => Ok(None),
            Err(_) if self.is(Defect::ShowsValues) => {
                let message = format!("loaded as another type: {value:?}");
                Err(Error::new(ErrorKind::DataCorrupted, message))
            }
            Err(_) => Err(Error::new(ErrorKind::DataCorrupted, "loaded as another type")),
        }
    }
}

/// Ends a load whose caller went away.
struct Landing(Arc<Inner>, String, Arc<Flight>);

impl Drop for Landing {
    fn drop(&mut self) {
        let Self(loader, key, flight) = self;
        loader.leave(key, flight);
        flight.outcome.send_if_modified(|outcome| {
            let abandoned = outcome.is_none();
            if abandoned {
                *outcome = Some(Err(Error::new(ErrorKind::Cancelled, "abandoned")));
            }
            abandoned
        });
    }
}

#[async_trait]
impl Loads for Plain {
    async fn text(&self, key: &str, load: Load<String>) -> Result<Option<String>> {
        self.0.get(key, load).await
    }

    async fn number(&self, key: &str, load: Load<u64>) -> Result<Option<u64>> {
        self.0.get(key, load).await
    }

    async fn invalidate(&self, key: &str) -> Result<bool> {
        let loader = &self.0;
        let key = loader.place(key);
        let flight = match loader.is(Defect::JoinsOvertaken) {
            true => lock(&loader.flights).get(&key).cloned(),
            false => lock(&loader.flights).remove(&key),
        };
        if let Some(flight) = flight {
            flight.overtaken.store(true, Ordering::SeqCst);
        }
        if loader.is(Defect::InvalidatesItsOwn) && !lock(&loader.stored).contains(&key) {
            return Ok(false);
        }
        let deleted = loader.cache.delete(&[&key]).await?;
        Ok(deleted > 0 || loader.is(Defect::AlwaysForgot))
    }
}
