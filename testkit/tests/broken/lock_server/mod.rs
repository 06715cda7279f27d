//! A small server of locks with one defect, for the families that build on locks. Without a defect it keeps the contract.

mod client;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::coordination::Locks;
use infra_core::{Error, ErrorKind, Result};
use infra_testkit::conformance::{Breakage, Disturbance, Fixture, Probe};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use client::Client;

/// What is wrong with the server, or with its clients.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defect {
    #[default]
    Nothing,
    RefusesFirst,
    SeesGrantsLate,
    Reentrant,
    TimesOutAsUnavailable,
    DelaysOwnReturn,
    PollsEveryFiveSeconds,
    ReleasesForeign,
    RenewsForEver,
    DoesNotExtend,
    HidesLossFromTriers,
    HidesLossFromWaiters,
    WakesTwo,
    TokenOfTheClient,
    KeepsItselfAlive,
    GhostInTheQueue,
    ClosedAsTimeout,
    LastComesFirst,
    ShortensLongLeases,
    CutsLongNames,
    AsksBeforeChecking,
    RoundsUpToAMinute,
    WaitersHearOnlyReleases,
    LeaseFromTheQuestion,
    KeepsUntakenGrants,
    OpenAfterShutdown,
    RenewsAfterShutdown,
    AwayIsInternal,
    SwallowsFailedRenewals,
    GivesUpAtOnce,
    ForgetsTokensWithSessions,
    TrimsSlashes,
    NamesGuardsItsOwnWay,
    KeepsPlacesOfTimedOut,
    WaitsForARelease,
    TellsLossLate,
    DeadAfterALoss,
    DeclaresLongerNames,
    NamesBelowSlash,
}

/// A breakage of the scenario `breaks` by a server with this defect.
pub(crate) fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Locks> {
    Breakage::new(breaks, words, move |_| async move { Ok(fixture(defect)) })
}

pub(crate) fn fixture(defect: Defect) -> Fixture<dyn Locks> {
    let server = Arc::new(Server {
        defect,
        ..Server::default()
    });
    let (connecting, looking) = (Arc::clone(&server), Arc::clone(&server));
    Fixture::in_process(move || {
        let client: Arc<dyn Locks> = connecting.connect();
        async { Ok(client) }
    })
    .on_disturbance(move |disturbance| {
        let done = server.disturb(&disturbance);
        async move { Ok(done) }
    })
    .on_probe(move |probe| match probe {
        Probe::LockQueue { key } => u64::try_from(looking.queue(&key)).ok(),
        _ => None,
    })
}

#[derive(Debug, Default)]
struct Server {
    defect: Defect,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    away: bool,
    last: u64,
    timed_out: usize,
    clients: Vec<Arc<Link>>,
    locks: HashMap<String, Lock>,
    /// Whoever released a lock and when.
    returned: HashMap<(usize, String), Instant>,
    /// Grants to waiters that did not take them yet.
    granted: BTreeMap<u64, Held>,
}

#[derive(Debug, Default)]
struct Lock {
    used: bool,
    held: Option<Held>,
    queue: VecDeque<Waiter>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    token: u64,
    client: usize,
    ttl: Duration,
    at: Instant,
    ends_at: Instant,
    tried: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiter {
    number: u64,
    client: usize,
    ttl: Duration,
    asked_at: Instant,
}

/// A client's connection.
#[derive(Debug, Default)]
struct Link {
    cut: AtomicBool,
    /// Its session ended with a lease.
    dead: AtomicBool,
    closed: CancellationToken,
}

const NOBODY: usize = usize::MAX;

impl Server {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>) -> Arc<Client> {
        let link = Arc::new(Link::default());
        let mut state = self.lock();
        state.clients.push(Arc::clone(&link));
        let declared = match self.defect {
            Defect::DeclaresLongerNames => LIMITS.with_max_key_bytes(LIMITS.max_key_bytes + 100),
            _ => LIMITS,
        };
        Arc::new(Client {
            number: state.clients.len() - 1,
            server: Arc::clone(self),
            link,
            capabilities: Capabilities::new(declared)
                .with(Capability::Fencing)
                .with(Capability::FairLocks),
        })
    }

    fn disturb(&self, disturbance: &Disturbance) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        match disturbance {
            Disturbance::GoAway => state.away = true,
            Disturbance::ComeBack => state.away = false,
            Disturbance::Crash { client } | Disturbance::Disconnect { client } => {
                state.clients[*client].cut.store(true, Ordering::SeqCst);
            }
            Disturbance::Reconnect { client } => state.clients[*client].cut.store(false, Ordering::SeqCst),
            Disturbance::StealLock { key } => {
                let key = self.stored(key);
                let ttl = Duration::from_secs(3600);
                state.hold(&key, NOBODY, ttl, now);
            }
            Disturbance::ExpireLock { key } => {
                let key = self.stored(key);
                self.vacate(&mut state, &key, now);
            }
            Disturbance::LoseSessions => {
                let keys: Vec<String> = state.locks.keys().cloned().collect();
                if self.defect == Defect::ForgetsTokensWithSessions {
                    state.last = 0;
                }
                keys.iter().for_each(|key| self.vacate(&mut state, key, now));
            }
            _ => return false,
        }
        drop(state);
        self.changed.notify_waiters();
        true
    }

    fn queue(&self, key: &str) -> usize {
        let state = self.lock();
        let lock = state.locks.get(&self.stored(key));
        lock.map_or(0, |lock| usize::from(lock.held.is_some()) + lock.queue.len())
    }

    /// The name under which the server knows a lock.
    fn stored(&self, key: &str) -> String {
        match self.defect {
            Defect::TrimsSlashes => key.trim_end_matches('/').to_owned(),
            Defect::CutsLongNames => key.chars().take(LIMITS.max_key_bytes).collect(),
            Defect::NamesBelowSlash => key.rsplit('/').next().unwrap_or(key).to_owned(),
            _ => key.to_owned(),
        }
    }

    /// When the present lease is over, if that is still to come.
    fn lease_end(&self, key: &str, now: Instant) -> Option<Instant> {
        let ends_at = self.lock().locks.get(key)?.held?.ends_at;
        Some(ends_at.max(now))
    }

    /// Ends the lease if it is over.
    fn tidy(&self, state: &mut State, key: &str, now: Instant) {
        let over = |held: Held| held.ends_at <= now;
        if state.locks.get(key).and_then(|lock| lock.held).is_some_and(over) {
            self.vacate(state, key, now);
        }
    }

    /// Takes the lock from its holder and hands it to the next.
    fn vacate(&self, state: &mut State, key: &str, now: Instant) {
        let Some(lock) = state.locks.get_mut(key) else {
            return;
        };
        lock.held = None;
        let times = if self.defect == Defect::WakesTwo && lock.queue.len() >= 8 {
            2
        } else {
            1
        };
        for _ in 0..times {
            let Some(lock) = state.locks.get_mut(key) else {
                return;
            };
            let next = match self.defect {
                Defect::LastComesFirst => lock.queue.pop_back(),
                _ => lock.queue.pop_front(),
            };
            let Some(waiter) = next else {
                return;
            };
            let from = match self.defect {
                Defect::LeaseFromTheQuestion => waiter.asked_at,
                _ => now,
            };
            let held = state.hold(key, waiter.client, waiter.ttl, from);
            state.granted.insert(waiter.number, held);
            self.changed.notify_waiters();
        }
    }
}

impl State {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn hold(&mut self, key: &str, client: usize, ttl: Duration, from: Instant) -> Held {
        let held = Held {
            token: self.number(),
            client,
            ttl,
            at: from,
            ends_at: from + ttl,
            tried: false,
        };
        let lock = self.locks.entry(key.to_owned()).or_default();
        (lock.used, lock.held) = (true, Some(held));
        held
    }

    fn is_held_under(&self, key: &str, token: u64) -> bool {
        let held = self.locks.get(key).and_then(|lock| lock.held);
        held.is_some_and(|held| held.token == token)
    }
}

const LIMITS: Limits = Limits::DEFAULT;

impl State {
    fn reach(&self, link: &Link, defect: Defect) -> Result<()> {
        if !self.away && !link.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let kind = match defect {
            Defect::AwayIsInternal => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        };
        Err(Error::new(kind, "the server does not answer").without_effect())
    }
}
