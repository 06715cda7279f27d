//! The shared keyspace: moka for lookup, memory bound and eviction; stripes of locks that order the writers of a key.
//!
//! Readers take no lock of ours. Writers of one key take its stripe, because moka orders its own `insert` with neither
//! another `insert` nor a read-modify-write. A batch takes all its stripes and announces itself, so that a reader that
//! overlapped it reads again behind it and never sees half of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;
use infra_core::{Error, ErrorKind, Result, Ttl};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::time::Instant;

use super::config::MemoryCacheConfig;
use super::due::DueList;
use super::value::{Kind, Shared, Structure, Value};

/// How many locks the keys share; a power of two.
const STRIPES: usize = 256;

/// What a key costs beside its own bytes and those of its value: moka's nodes and our entry.
const ENTRY_BYTES: usize = 160;

/// One batch in progress.
const BATCH_ACTIVE: u64 = 1;

/// One batch begun, ever; the bits below count those in progress.
const BATCH_BEGUN: u64 = 1 << 16;

/// A whole key, prefix included; shared with the list of what is due.
pub(super) type Key = Arc<str>;

/// What moka holds for a key. The weight is fixed when the entry is put, since moka weighs under locks of its own.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) deadline: Option<Instant>,
    weight: u32,
}

impl Entry {
    #[inline]
    pub(super) fn is_live(&self) -> bool {
        self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// The string, unless it expired.
    #[inline]
    fn into_string(self, key: &str) -> Result<Option<Bytes>> {
        if !self.is_live() {
            return Ok(None);
        }
        match self.value {
            Value::String(bytes) => Ok(Some(bytes)),
            other => Err(wrong_kind(key, other.kind(), Kind::String)),
        }
    }

    /// How long it will live.
    pub(super) fn ttl(&self) -> Ttl {
        self.deadline.map_or(Ttl::Never, |deadline| {
            Ttl::After(deadline.saturating_duration_since(Instant::now()))
        })
    }
}

/// The moment at which a thing stored now expires.
pub(super) fn deadline(ttl: Ttl) -> Option<Instant> {
    // A deadline beyond what the clock can count is no deadline.
    ttl.duration().and_then(|ttl| Instant::now().checked_add(ttl))
}

/// The keyspace that a cache and its scopes share.
#[derive(Debug)]
pub(super) struct Store {
    entries: Cache<Key, Entry, RandomState>,
    stripes: Box<[Mutex<()>]>,
    due: DueList,
    batches: AtomicU64,
    /// Clients that were not shut down.
    clients: AtomicUsize,
    max_bytes: u64,
    /// What every key weighs at least, so that one total of weights bounds both bytes and keys.
    least_weight: u64,
}

impl Store {
    pub(super) fn new(config: &MemoryCacheConfig) -> Self {
        let entries = Cache::builder()
            .name("infra-memory cache")
            .max_capacity(config.max_bytes)
            .weigher(|_: &Key, entry: &Entry| entry.weight)
            // Not TinyLFU, which may refuse a new key right after it was written.
            .eviction_policy(EvictionPolicy::lru())
            // Seeded at random like the standard library's, and faster on short keys.
            .build_with_hasher(RandomState::default());
        Self {
            entries,
            stripes: std::iter::repeat_with(|| Mutex::new(())).take(STRIPES).collect(),
            due: DueList::new(STRIPES, config.max_entries),
            batches: AtomicU64::new(0),
            clients: AtomicUsize::new(1),
            max_bytes: config.max_bytes,
            least_weight: config.max_bytes / config.max_entries.max(1),
        }
    }

    /// One more client uses the keyspace.
    pub(super) fn join(&self) {
        self.clients.fetch_add(1, Ordering::Relaxed);
    }

    /// One client leaves; the last one takes everything with it.
    pub(super) fn leave(&self) {
        if self.clients.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.entries.invalidate_all();
            self.entries.run_pending_tasks();
        }
    }

    /// The live keys and their bytes, after everything that is due was reclaimed.
    pub(super) fn usage(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    /// The string under a key; the hot path.
    #[inline]
    pub(super) fn string(&self, key: &str) -> Result<Option<Bytes>> {
        match self.outside_batches(key, || self.entries.get(key)) {
            None => Ok(None),
            Some(entry) => entry.into_string(key),
        }
    }

    /// The entry under a key, unless it expired.
    pub(super) fn read(&self, key: &str) -> Option<Entry> {
        self.outside_batches(key, || self.entries.get(key))
            .filter(Entry::is_live)
    }

    /// Looks into the structure under a key; `None` when there is none.
    pub(super) fn look<T: Structure, R>(&self, key: &str, look: impl Fn(&T) -> R) -> Result<Option<R>> {
        self.outside_batches(key, || {
            let Some(entry) = self.entries.get(key).filter(Entry::is_live) else {
                return Ok(None);
            };
            let shared = T::of(&entry.value).ok_or_else(|| wrong_kind(key, entry.value.kind(), T::KIND))?;
            Ok(Some(look(&shared.lock())))
        })
    }

    /// Reads, and reads again behind the key's stripe if a batch was in progress at any moment of the first attempt.
    #[inline]
    fn outside_batches<R>(&self, key: &str, read: impl Fn() -> R) -> R {
        let before = self.batches.load(Ordering::Acquire);
        if before.is_multiple_of(BATCH_BEGUN) {
            let result = read();
            // Keeps the reads above from being ordered after the load below.
            fence(Ordering::Acquire);
            if self.batches.load(Ordering::Relaxed) == before {
                return result;
            }
        }
        self.behind_stripe(key, read)
    }

    #[cold]
    fn behind_stripe<R>(&self, key: &str, read: impl Fn() -> R) -> R {
        let _stripe = self.lock(stripe(key));
        read()
    }

    /// Takes the stripe of a key, to change what is under it.
    pub(super) fn slot<'s>(&'s self, key: &'s str) -> Slot<'s> {
        let stripe = stripe(key);
        Slot {
            store: self,
            key,
            stripe,
            _held: Some(self.lock(stripe)),
        }
    }

    /// Takes the stripes of all keys in one order, and announces a batch.
    pub(super) fn begin_batch<'k>(&self, keys: impl Iterator<Item = &'k str>) -> BatchGuard<'_> {
        let mut stripes: Vec<usize> = keys.map(stripe).collect();
        stripes.sort_unstable();
        stripes.dedup();
        let stripes = stripes.into_iter().map(|stripe| self.lock(stripe)).collect();
        self.batches
            .fetch_add(BATCH_BEGUN + BATCH_ACTIVE, Ordering::SeqCst);
        BatchGuard {
            store: self,
            _stripes: stripes,
        }
    }

    /// Every live key, in no order; neither counts as a use of the key.
    pub(super) fn live_keys(&self) -> impl Iterator<Item = Arc<Key>> + '_ {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.is_live())
            .map(|(key, _)| key)
    }

    /// Refuses what would never fit, before anything is changed.
    pub(super) fn check_fits(&self, key: &str, bytes: usize) -> Result<()> {
        let needed = self.weigh(key, bytes);
        let largest = self.max_bytes.min(u64::from(u32::MAX));
        if needed > largest {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "key {key:?} would take about {needed} bytes, more than the {largest} that one key may take; \
                     spread it over several keys or raise max_bytes"
                ),
            )
            .with_retry(infra_core::Retry::Never)
            .without_effect());
        }
        Ok(())
    }

    fn weigh(&self, key: &str, bytes: usize) -> u64 {
        let weight = (key.len() as u64)
            .saturating_add(bytes as u64)
            .saturating_add(ENTRY_BYTES as u64);
        weight.max(self.least_weight)
    }

    fn lock(&self, stripe: usize) -> MutexGuard<'_, ()> {
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// All stripes of a batch, and its announcement to readers.
#[derive(Debug)]
pub(super) struct BatchGuard<'s> {
    store: &'s Store,
    _stripes: Vec<MutexGuard<'s, ()>>,
}

impl Drop for BatchGuard<'_> {
    fn drop(&mut self) {
        // The stripes are given back after this, with the fields.
        self.store.batches.fetch_sub(BATCH_ACTIVE, Ordering::SeqCst);
    }
}

impl<'s> BatchGuard<'s> {
    /// One of the batch's keys, to change what is under it.
    pub(super) fn slot<'k>(&'k self, key: &'k str) -> Slot<'k>
    where
        's: 'k,
    {
        Slot {
            store: self.store,
            key,
            stripe: stripe(key),
            _held: None,
        }
    }
}

/// A key whose stripe is held: nobody else changes what is under it (but moka may evict it).
#[derive(Debug)]
pub(super) struct Slot<'s> {
    store: &'s Store,
    key: &'s str,
    stripe: usize,
    /// Nothing in a batch, which holds all its stripes itself.
    _held: Option<MutexGuard<'s, ()>>,
}

impl Slot<'_> {
    /// What is under the key, unless it expired.
    pub(super) fn entry(&self) -> Option<Entry> {
        self.store.entries.get(self.key).filter(Entry::is_live)
    }

    /// The string under the key and its deadline.
    pub(super) fn string(&self) -> Result<Option<(Bytes, Option<Instant>)>> {
        match self.entry() {
            None => Ok(None),
            Some(Entry {
                value: Value::String(bytes),
                deadline,
                ..
            }) => Ok(Some((bytes, deadline))),
            Some(entry) => Err(wrong_kind(self.key, entry.value.kind(), Kind::String)),
        }
    }

    /// Replaces whatever is under the key.
    pub(super) fn put_string(&self, value: Bytes, deadline: Option<Instant>) -> Result<()> {
        let bytes = value.len();
        self.store.check_fits(self.key, bytes)?;
        self.put(Value::String(value), deadline, bytes);
        Ok(())
    }

    /// Sets when the key expires; `false` when there is no such key.
    pub(super) fn expire(&self, deadline: Option<Instant>) -> bool {
        let Some(entry) = self.entry() else {
            return false;
        };
        self.insert(Entry { deadline, ..entry });
        true
    }

    /// Empties the slot; whether there was anything live.
    pub(super) fn remove(&self) -> bool {
        self.store
            .entries
            .remove(self.key)
            .is_some_and(|entry| entry.is_live())
    }

    /// Puts back what was there before; for a batch that failed.
    pub(super) fn restore(&self, entry: Option<Entry>) {
        match entry {
            Some(entry) => self.insert(entry),
            None => self.store.entries.invalidate(self.key),
        }
    }

    /// The structure under the key.
    pub(super) fn structure<T: Structure>(&self) -> Result<Option<(Shared<T>, Entry)>> {
        let Some(entry) = self.entry() else {
            return Ok(None);
        };
        match T::of(&entry.value) {
            Some(shared) => Ok(Some((shared.clone(), entry))),
            None => Err(wrong_kind(self.key, entry.value.kind(), T::KIND)),
        }
    }

    /// Changes the structure under the key, which is made when there is none, and removed when it is left empty.
    /// It may grow by `growth` bytes at most. What `change` refuses leaves everything as it was, if it changed nothing.
    pub(super) fn change<T: Structure + Default, R>(
        &self,
        growth: usize,
        change: impl FnOnce(&mut T) -> Result<R>,
    ) -> Result<R> {
        let (shared, entry) = match self.structure::<T>()? {
            Some((shared, entry)) => (shared, Some(entry)),
            None => (Shared::new(T::default()), None),
        };
        let mut structure = shared.lock();
        self.store
            .check_fits(self.key, structure.bytes().saturating_add(growth))?;
        let result = change(&mut structure)?;
        let (bytes, empty) = (structure.bytes(), structure.is_empty());
        drop(structure);
        match entry {
            None if empty => {}
            None => self.put(T::into_value(shared), None, bytes),
            Some(_) if empty => self.store.entries.invalidate(self.key),
            Some(entry) if self.is_misjudged(&entry, bytes) => {
                self.put(entry.value, entry.deadline, bytes);
            }
            Some(_) => {}
        }
        Ok(result)
    }

    /// Puts a new structure under the key.
    pub(super) fn put_structure<T: Structure>(&self, structure: T) {
        let bytes = structure.bytes();
        let value = T::into_value(Shared::new(structure));
        self.put(value, None, bytes);
    }

    fn put(&self, value: Value, deadline: Option<Instant>, bytes: usize) {
        let weight = u32::try_from(self.store.weigh(self.key, bytes)).unwrap_or(u32::MAX);
        self.insert(Entry {
            value,
            deadline,
            weight,
        });
    }

    /// Stores an entry, and gives back the memory of a few others of this stripe that expired.
    fn insert(&self, entry: Entry) {
        let Store { entries, due, .. } = self.store;
        let key = Key::from(self.key);
        let expired = due.note_write(self.stripe, entry.deadline, &key);
        entries.insert(key, entry);
        for key in expired {
            match entries.get(&*key) {
                Some(entry) if !entry.is_live() => entries.invalidate(&*key),
                // Written again since, with another deadline.
                Some(Entry {
                    deadline: Some(deadline),
                    ..
                }) => due.list_again(self.stripe, deadline, &key),
                _ => {}
            }
        }
    }

    /// Whether the weight that moka counts has become wrong by more than an eighth.
    fn is_misjudged(&self, entry: &Entry, bytes: usize) -> bool {
        let counted = u64::from(entry.weight);
        self.store.weigh(self.key, bytes).abs_diff(counted) > counted / 8
    }
}

/// The stripe of a key. Keys that were made to share one only make their writers wait for one another.
fn stripe(key: &str) -> usize {
    // The multiplier of FxHash, as the Rust compiler uses it.
    const MIX: u64 = 0xf135_7aea_2e62_a9c5;
    let (words, rest) = key.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words.iter().chain(std::iter::once(&last));
    let hash = words.fold(key.len() as u64, |hash, word| {
        (hash.rotate_left(5) ^ u64::from_le_bytes(*word)).wrapping_mul(MIX)
    });
    // The upper bits are the well mixed ones.
    usize::try_from(hash >> (u64::BITS - STRIPES.ilog2())).unwrap_or_default()
}

fn wrong_kind(key: &str, found: Kind, wanted: Kind) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("key {key:?} holds a {found}, not a {wanted}; delete it first or use another key"),
    )
    .without_effect()
}
