//! The state behind every lock of one in-process server: who holds what until when, and who waits in which order.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::coordination::FencingToken;
use infra_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::LockClient;

/// How many overdue leases one operation ends besides its own key's; keeps every call short.
const EXPIRED_PER_CALL: usize = 16;

/// The client id of an owner that a test made up.
const NOBODY: u64 = 0;

/// The locks of one in-process server, shared by all its clients. Cloning gives another handle on the same locks.
///
/// Each lock is handed to its waiters in their order of arrival, directly: there is no moment at which a late-comer could
/// take it. A lease that is not renewed ends by itself. Memory is bounded: held locks and waiters together are at most the
/// table's capacity, and beyond it an acquisition is refused with [`ResourceExhausted`](ErrorKind::ResourceExhausted).
///
/// The public methods are for tests: they do what a server does to its clients when it loses or reassigns a lock.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use infra_core::coordination::Locks;
/// use infra_memory::MemoryCoordinator;
///
/// let coordinator = MemoryCoordinator::new();
/// let guard = coordinator.try_acquire("report", Duration::from_millis(60)).await?.expect("it is free");
/// let thief = coordinator.lock_table().steal("report", Duration::from_secs(1));
/// assert!(thief > guard.fencing_token());
/// guard.lost().await; // noticed at the next renewal, a third of the time to live later at most
/// assert!(guard.release().await.is_err());
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct LockTable {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
}

impl fmt::Debug for LockTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("LockTable")
            .field("locks", &state.locks.len())
            .field("capacity", &state.capacity)
            .finish_non_exhaustive()
    }
}

/// What an owner gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grant {
    pub(super) token: u64,
    pub(super) at: Instant,
}

struct State {
    capacity: usize,
    /// Held locks and waiters together.
    occupied: usize,
    /// The source of fencing tokens, waiters' numbers and client ids: strictly increasing, over all keys.
    last_number: u64,
    locks: HashMap<Arc<str>, Entry>,
    /// The leases in the order in which they end.
    ends: BTreeMap<(Instant, u64), Arc<str>>,
}

/// A held lock; a free one has no entry.
struct Entry {
    token: u64,
    client: u64,
    ttl: Duration,
    ends_at: Instant,
    waiters: VecDeque<Waiter>,
}

struct Waiter {
    number: u64,
    client: u64,
    ttl: Duration,
    grant: oneshot::Sender<Grant>,
}

impl LockTable {
    /// A table of at most `capacity` held locks and waiters.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    capacity,
                    occupied: 0,
                    last_number: NOBODY,
                    locks: HashMap::new(),
                    ends: BTreeMap::new(),
                }),
            }),
        }
    }

    /// Ends a lease as a server does that lost it: the holder is not asked, and the next waiter is served.
    ///
    /// Returns whether somebody held it. The holder notices at its next renewal.
    pub fn expire(&self, key: &str) -> bool {
        let mut state = self.lock();
        let held = state.locks.contains_key(key);
        state.vacate(key, Instant::now());
        held
    }

    /// Ends every lease, as a restart of the server without its data does. Fencing tokens go on increasing.
    pub fn expire_all(&self) {
        let mut state = self.lock();
        let keys: Vec<_> = state.locks.keys().cloned().collect();
        let now = Instant::now();
        for key in keys {
            state.vacate(&key, now);
        }
    }

    /// Gives a lock to an invented owner for `ttl`, whoever holds it and whoever waits.
    ///
    /// Returns the token of the new owner: what a store would be shown that the real holder must be kept away from.
    pub fn steal(&self, key: &str, ttl: Duration) -> FencingToken {
        let now = Instant::now();
        let mut state = self.lock();
        let token = state.number();
        let ends_at = later(now, ttl);
        if let Some(entry) = state.locks.get_mut(key) {
            let before = (entry.ends_at, entry.token);
            (entry.token, entry.client, entry.ttl, entry.ends_at) = (token, NOBODY, ttl, ends_at);
            let key = state.ends.remove(&before).unwrap_or_else(|| Arc::from(key));
            state.ends.insert((ends_at, token), key);
        } else {
            state.hold(Arc::from(key), token, NOBODY, ttl, now);
        }
        FencingToken(token)
    }

    /// Whether somebody holds the lock now.
    #[must_use]
    pub fn is_held(&self, key: &str) -> bool {
        let now = Instant::now();
        self.lock()
            .locks
            .get(key)
            .is_some_and(|entry| entry.ends_at > now)
    }

    /// How many wait for the lock now.
    #[must_use]
    pub fn waiting(&self, key: &str) -> usize {
        self.lock().locks.get(key).map_or(0, |entry| entry.waiters.len())
    }

    pub(super) fn new_client_id(&self) -> u64 {
        self.lock().number()
    }

    /// Takes the lock if it is free.
    pub(super) fn take(&self, key: &str, client: &LockClient, ttl: Duration) -> Result<Option<Grant>> {
        let now = Instant::now();
        let mut state = self.lock();
        state.tidy(key, now);
        if state.locks.contains_key(key) {
            return Ok(None);
        }
        state.admit()?;
        let token = state.number();
        Ok(Some(state.hold(Arc::from(key), token, client.id(), ttl, now)))
    }

    /// Takes the lock if it is free, else a place in the queue.
    pub(super) fn take_or_queue(&self, key: &str, client: &LockClient, ttl: Duration) -> Result<Ticket> {
        let now = Instant::now();
        let mut state = self.lock();
        state.tidy(key, now);
        state.admit()?;
        let number = state.number();
        let (grant, receiver) = oneshot::channel();
        let key: Arc<str> = Arc::from(key);
        if let Some(entry) = state.locks.get_mut(&key) {
            entry.waiters.push_back(Waiter {
                number,
                client: client.id(),
                ttl,
                grant,
            });
            state.occupied += 1;
        } else {
            let granted = state.hold(Arc::clone(&key), number, client.id(), ttl, now);
            // The receiver is right here, so that the send cannot fail.
            let _ = grant.send(granted);
        }
        drop(state);
        Ok(Ticket {
            table: self.clone(),
            key,
            number,
            receiver: Some(receiver),
        })
    }

    /// When the present lease ends unless it is renewed.
    pub(super) fn ends_at(&self, key: &str) -> Option<Instant> {
        self.lock().locks.get(key).map(|entry| entry.ends_at)
    }

    /// Ends the lease of `key` if it is due, and serves the next waiter.
    pub(super) fn tidy(&self, key: &str) {
        self.lock().tidy(key, Instant::now());
    }

    /// Extends a lease; `false` when `token` does not hold the lock any more.
    pub(super) fn renew(&self, key: &str, token: u64) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        state.tidy(key, now);
        let Some(entry) = state.locks.get_mut(key).filter(|entry| entry.token == token) else {
            return false;
        };
        let before = (entry.ends_at, token);
        entry.ends_at = later(now, entry.ttl);
        let after = (entry.ends_at, token);
        let key = state.ends.remove(&before).unwrap_or_else(|| Arc::from(key));
        state.ends.insert(after, key);
        true
    }

    /// Frees the lock; `false` when `token` does not hold it any more, and then nothing is touched.
    pub(super) fn release(&self, key: &str, token: u64) -> bool {
        let now = Instant::now();
        let mut state = self.lock();
        state.tidy(key, now);
        if state.locks.get(key).is_none_or(|entry| entry.token != token) {
            return false;
        }
        state.vacate(key, now);
        true
    }

    /// Frees everything that a client holds or waits for.
    pub(super) fn remove_client(&self, client: u64) {
        let mut state = self.lock();
        let mut gone = 0;
        for entry in state.locks.values_mut() {
            let before = entry.waiters.len();
            entry.waiters.retain(|waiter| waiter.client != client);
            gone += before - entry.waiters.len();
        }
        state.occupied -= gone;
        let held: Vec<_> = state
            .locks
            .iter()
            .filter(|(_, entry)| entry.client == client)
            .map(|(key, _)| Arc::clone(key))
            .collect();
        let now = Instant::now();
        for key in held {
            state.vacate(&key, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn admit(&self) -> Result<()> {
        if self.occupied < self.capacity {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "all {} places for locks and waiters are taken; release some, or configure a larger capacity",
                self.capacity
            ),
        )
        .without_effect())
    }

    /// Ends leases that are due: that of `key` for certain, and a few others.
    fn tidy(&mut self, key: &str, now: Instant) {
        if self.locks.get(key).is_some_and(|entry| entry.ends_at <= now) {
            self.vacate(key, now);
        }
        for _ in 0..EXPIRED_PER_CALL {
            let due = match self.ends.first_key_value() {
                Some(((ends_at, _), key)) if *ends_at <= now => Arc::clone(key),
                _ => break,
            };
            self.vacate(&due, now);
        }
    }

    fn hold(&mut self, key: Arc<str>, token: u64, client: u64, ttl: Duration, now: Instant) -> Grant {
        let ends_at = later(now, ttl);
        self.ends.insert((ends_at, token), Arc::clone(&key));
        self.occupied += 1;
        self.locks.insert(
            key,
            Entry {
                token,
                client,
                ttl,
                ends_at,
                waiters: VecDeque::new(),
            },
        );
        Grant { token, at: now }
    }

    /// Takes the lock from its holder and hands it to the first waiter who still waits.
    fn vacate(&mut self, key: &str, now: Instant) {
        let Some((key, mut entry)) = self.locks.remove_entry(key) else {
            return;
        };
        self.ends.remove(&(entry.ends_at, entry.token));
        self.occupied -= 1;
        while let Some(waiter) = entry.waiters.pop_front() {
            self.occupied -= 1;
            let token = self.number();
            if waiter.grant.send(Grant { token, at: now }).is_err() {
                continue;
            }
            self.hold(Arc::clone(&key), token, waiter.client, waiter.ttl, now);
            if let Some(next) = self.locks.get_mut(&key) {
                next.waiters = entry.waiters;
            }
            return;
        }
    }
}

/// A place in the queue. Dropping it leaves the queue; a lock that was granted and not taken is released.
pub(super) struct Ticket {
    table: LockTable,
    key: Arc<str>,
    number: u64,
    receiver: Option<oneshot::Receiver<Grant>>,
}

impl Ticket {
    /// Waits for the lock. Cancel-safe; after it has answered once it never answers again.
    pub(super) async fn granted(&mut self) -> Grant {
        if let Some(receiver) = &mut self.receiver {
            let answer = receiver.await;
            self.receiver = None;
            if let Ok(grant) = answer {
                return grant;
            }
        }
        // The sender only disappears with its client's shutdown, which the caller watches.
        std::future::pending().await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(mut receiver) = self.receiver.take() else {
            return;
        };
        let mut state = self.table.lock();
        if let Ok(grant) = receiver.try_recv() {
            if state
                .locks
                .get(&self.key)
                .is_some_and(|entry| entry.token == grant.token)
            {
                state.vacate(&self.key, Instant::now());
            }
            return;
        }
        if let Some(entry) = state.locks.get_mut(&self.key) {
            let before = entry.waiters.len();
            entry.waiters.retain(|waiter| waiter.number != self.number);
            let gone = before - entry.waiters.len();
            state.occupied -= gone;
        }
    }
}

/// `now + duration`, or what is as good as never.
pub(super) fn later(now: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 366 * 24 * 3600);
    now.checked_add(duration).unwrap_or_else(|| now + FAR)
}
