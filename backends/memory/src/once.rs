//! Claims and results of idempotent operations, in one process.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::{Problems, Validate};
use infra_core::once::{Claim, ClaimRequest, OnceStatus, OnceStore};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::link::Link;

#[cfg(test)]
mod tests;

/// How many overdue entries one call removes besides its own key's; keeps every call short.
const EXPIRED_PER_CALL: usize = 16;

/// How much an in-process store of idempotent operations remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryOnceConfig {
    /// The most claims and results together. Default: 1 000 000.
    pub max_entries: usize,
    /// The most bytes of keys and results together. Default: 256 MiB.
    pub max_bytes: usize,
}

impl Default for MemoryOnceConfig {
    fn default() -> Self {
        Self::development()
    }
}

impl Validate for MemoryOnceConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(self.max_entries > 0, "max_entries", "is 0; allow at least one");
        problems.ensure(self.max_bytes > 0, "max_bytes", "is 0; allow at least one");
    }
}

impl MemoryOnceConfig {
    /// The defaults above.
    #[must_use]
    pub const fn development() -> Self {
        Self {
            max_entries: 1_000_000,
            max_bytes: 256 * 1024 * 1024,
        }
    }

    /// The same: memory is bounded alike in both profiles.
    #[must_use]
    pub const fn production() -> Self {
        Self::development()
    }

    /// Sets the most claims and results together.
    #[must_use]
    pub const fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// Sets the most bytes of keys and results together.
    #[must_use]
    pub const fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// The store of idempotent operations of one process. Cloning gives another handle on the same client;
/// [`MemoryOnceStore::connect`] gives another *client* of the same store.
///
/// A full store refuses new claims with [`ResourceExhausted`](ErrorKind::ResourceExhausted): forgetting a result early
/// would let its work be done twice.
///
/// The methods after [`MemoryOnceStore::connect`] are for tests: they lose claims, spoil results, and make the store unreachable.
#[derive(Clone)]
pub struct MemoryOnceStore {
    shared: Arc<Shared>,
    link: Arc<Link>,
}

struct Shared {
    capabilities: Capabilities,
    state: Mutex<State>,
}

struct State {
    config: MemoryOnceConfig,
    bytes: usize,
    last_fence: u64,
    entries: HashMap<Arc<str>, Entry>,
    /// Entries in the order in which they end.
    ends: BTreeMap<(Instant, u64), Arc<str>>,
}

struct Entry {
    owner: String,
    /// Of the claim; also tells entries of one key apart.
    fence: u64,
    fingerprint: Option<String>,
    ends_at: Instant,
    /// `None` while the work is in progress.
    result: Option<Bytes>,
    /// Who waits for the claim to end.
    changed: Arc<Notify>,
}

impl fmt::Debug for MemoryOnceStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryOnceStore")
            .field("entries", &state.entries.len())
            .field("bytes", &state.bytes)
            .finish_non_exhaustive()
    }
}

impl Default for MemoryOnceStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryOnceStore {
    /// A store of the default size.
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(MemoryOnceConfig::default())
    }

    /// A store of another size.
    #[must_use]
    pub fn with_config(config: MemoryOnceConfig) -> Self {
        Self {
            link: Arc::default(),
            shared: Arc::new(Shared {
                capabilities: Capabilities::new(Limits::DEFAULT).with(Capability::Fencing),
                state: Mutex::new(State {
                    config,
                    bytes: 0,
                    last_fence: 0,
                    entries: HashMap::new(),
                    ends: BTreeMap::new(),
                }),
            }),
        }
    }

    /// Another client of the same store, with a connection and a shutdown of its own: what another process would have.
    #[must_use]
    pub fn connect(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            link: Arc::new(self.link.connect()),
        }
    }

    /// Forgets whatever is known of a key, as a store does that lost it. Whether anything was known.
    pub fn lose(&self, key: &str) -> bool {
        self.lock().remove(key)
    }

    /// Replaces a stored result, as a defect or another program would. Whether there was one.
    pub fn overwrite_result(&self, key: &str, bytes: impl Into<Bytes>) -> bool {
        match self.lock().entries.get_mut(key) {
            Some(Entry {
                result: Some(result), ..
            }) => {
                *result = bytes.into();
                true
            }
            _ => false,
        }
    }

    /// Makes every call of every client fail with [`Unavailable`](ErrorKind::Unavailable).
    pub fn go_away(&self) {
        self.link.server().turn_off();
    }

    /// Ends what [`MemoryOnceStore::go_away`] began.
    pub fn come_back(&self) {
        self.link.server().turn_on();
    }

    /// Cuts this client off: its calls fail and its claims end by their leases, as after a crash of its process.
    pub fn disconnect(&self) {
        self.link.cut();
    }

    /// Ends what [`MemoryOnceStore::disconnect`] began.
    pub fn reconnect(&self) {
        self.link.mend();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so that a panic elsewhere does not spoil it.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks the call and gives the state, without what is overdue.
    fn enter(&self, key: &str, operation: &'static str) -> Result<MutexGuard<'_, State>> {
        self.limits()
            .check_key("key", key)
            .and_then(|()| self.link.check("this store of idempotent operations"))
            .map_err(at(operation))?;
        let mut state = self.lock();
        state.tidy(key);
        Ok(state)
    }

    fn limits(&self) -> &Limits {
        self.shared.capabilities.limits()
    }
}

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("once_store", crate::BACKEND, operation)
}

impl State {
    fn tidy(&mut self, key: &str) {
        let now = Instant::now();
        if self.entries.get(key).is_some_and(|entry| entry.ends_at <= now) {
            self.remove(key);
        }
        for _ in 0..EXPIRED_PER_CALL {
            let due = match self.ends.first_key_value() {
                Some(((ends_at, _), key)) if *ends_at <= now => Arc::clone(key),
                _ => return,
            };
            self.remove(&due);
        }
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some((key, entry)) = self.entries.remove_entry(key) else {
            return false;
        };
        self.ends.remove(&(entry.ends_at, entry.fence));
        self.bytes -= key.len() + entry.result.map_or(0, |result| result.len());
        entry.changed.notify_waiters();
        true
    }

    fn claim(&mut self, request: ClaimRequest) -> Result<Claim> {
        if let Some(entry) = self.entries.get(request.key.as_str()) {
            let answer = entry.answer(&request);
            if matches!(answer, Claim::Acquired { .. }) {
                self.move_end(&request.key, request.lease);
            }
            return Ok(answer);
        }
        self.admit(request.key.len(), 1)?;
        self.last_fence += 1;
        let fence = self.last_fence;
        let ends_at = Instant::now() + request.lease;
        let key: Arc<str> = Arc::from(request.key);
        self.bytes += key.len();
        self.ends.insert((ends_at, fence), Arc::clone(&key));
        self.entries.insert(
            key,
            Entry {
                owner: request.owner,
                fence,
                fingerprint: request.fingerprint,
                ends_at,
                result: None,
                changed: Arc::default(),
            },
        );
        Ok(Claim::Acquired { fence })
    }

    fn complete(&mut self, key: &str, owner: &str, result: Bytes, ttl: Duration) -> Result<()> {
        let entry = self.owned(key, owner)?;
        if entry.result.is_some() {
            // The answer to the first completion was lost; it holds.
            return Ok(());
        }
        self.admit(result.len(), 0)?;
        self.bytes += result.len();
        let entry = self.owned(key, owner)?;
        entry.result = Some(result);
        let changed = Arc::clone(&entry.changed);
        self.move_end(key, ttl);
        changed.notify_waiters();
        Ok(())
    }

    /// Lets an entry end `after` from now.
    fn move_end(&mut self, key: &str, after: Duration) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let before = (entry.ends_at, entry.fence);
        entry.ends_at = Instant::now() + after;
        let end = (entry.ends_at, entry.fence);
        if let Some(key) = self.ends.remove(&before) {
            self.ends.insert(end, key);
        }
    }

    /// The claim of `key`, if it is `owner`'s and stands.
    fn claimed(&mut self, key: &str, owner: &str) -> Result<&mut Entry> {
        match self.owned(key, owner) {
            Ok(entry) if entry.result.is_none() => Ok(entry),
            _ => Err(not_ours(key)),
        }
    }

    fn owned(&mut self, key: &str, owner: &str) -> Result<&mut Entry> {
        self.entries
            .get_mut(key)
            .filter(|entry| entry.owner == owner)
            .ok_or_else(|| not_ours(key))
    }

    fn admit(&self, bytes: usize, entries: usize) -> Result<()> {
        let config = self.config;
        if self.entries.len() + entries <= config.max_entries && self.bytes + bytes <= config.max_bytes {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "the store is full ({} of {} entries, {} of {} bytes); shorten how long results are remembered, or configure more room",
                self.entries.len(),
                config.max_entries,
                self.bytes,
                config.max_bytes
            ),
        )
        .without_effect())
    }
}

impl Entry {
    fn answer(&self, request: &ClaimRequest) -> Claim {
        if let (Some(known), Some(asked)) = (&self.fingerprint, &request.fingerprint)
            && known != asked
        {
            return Claim::FingerprintMismatch;
        }
        match &self.result {
            Some(result) => Claim::Done {
                result: result.clone(),
            },
            None if self.owner == request.owner => Claim::Acquired { fence: self.fence },
            None => Claim::InProgress {
                remaining: self.ends_at.saturating_duration_since(Instant::now()),
            },
        }
    }
}

fn not_ours(key: &str) -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        format!("the claim to key {key:?} is not ours any more; nothing was changed"),
    )
}

#[async_trait]
impl Backend for MemoryOnceStore {
    fn backend(&self) -> &'static str {
        crate::BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.link
            .check("this store of idempotent operations")
            .map_err(at("health"))
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        self.link.close();
        Ok(())
    }
}

#[async_trait]
impl OnceStore for MemoryOnceStore {
    async fn claim(&self, request: ClaimRequest) -> Result<Claim> {
        self.limits().check_ttl(request.lease).map_err(at("claim"))?;
        self.enter(&request.key, "claim")?
            .claim(request)
            .map_err(at("claim"))
    }

    async fn renew(&self, key: &str, owner: &str, lease: Duration) -> Result<()> {
        self.limits().check_ttl(lease).map_err(at("renew"))?;
        let mut state = self.enter(key, "renew")?;
        state.claimed(key, owner).map(drop).map_err(at("renew"))?;
        state.move_end(key, lease);
        Ok(())
    }

    async fn complete(&self, key: &str, owner: &str, result: Bytes, ttl: Duration) -> Result<()> {
        self.limits()
            .check_ttl(ttl)
            .and_then(|()| self.limits().check_value("result", result.len()))
            .map_err(at("complete"))?;
        self.enter(key, "complete")?
            .complete(key, owner, result, ttl)
            .map_err(at("complete"))
    }

    async fn release(&self, key: &str, owner: &str) -> Result<()> {
        let mut state = self.enter(key, "release")?;
        state.claimed(key, owner).map(drop).map_err(at("release"))?;
        state.remove(key);
        Ok(())
    }

    async fn wait_for_change(&self, key: &str, timeout: Duration) -> Result<()> {
        let (changed, claim_ends) = {
            let state = self.enter(key, "wait_for_change")?;
            match state.entries.get(key) {
                Some(entry) if entry.result.is_none() => (Arc::clone(&entry.changed), entry.ends_at),
                _ => return Ok(()),
            }
        };
        let notified = changed.notified();
        tokio::pin!(notified);
        // From here on a notification is not missed; what happened before shows in the state.
        notified.as_mut().enable();
        let unchanged = self
            .enter(key, "wait_for_change")?
            .entries
            .get(key)
            .is_some_and(|entry| entry.result.is_none() && Arc::ptr_eq(&entry.changed, &changed));
        if !unchanged {
            return Ok(());
        }
        let until = Instant::now()
            .checked_add(timeout)
            .map_or(claim_ends, |until| until.min(claim_ends));
        tokio::select! {
            () = self.link.closed().cancelled() => {
                Err(at("wait_for_change")(Error::closed("this store of idempotent operations")))
            }
            () = notified => Ok(()),
            () = sleep_until(until) => Ok(()),
        }
    }

    async fn clear(&self, key: &str) -> Result<bool> {
        Ok(self.enter(key, "clear")?.remove(key))
    }

    async fn status(&self, key: &str) -> Result<OnceStatus> {
        Ok(match self.enter(key, "status")?.entries.get(key) {
            None => OnceStatus::Unknown,
            Some(Entry { result: None, .. }) => OnceStatus::InProgress,
            Some(_) => OnceStatus::Done,
        })
    }
}
