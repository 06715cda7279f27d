//! A client of the server, and the guards that it gives out.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use infra_core::capability::Capabilities;
use infra_core::coordination::{FencingToken, LockGuard, LockOptions, Locks};
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use tokio::time::{Instant, sleep_until};

use super::{Defect, Held, LIMITS, Link, Lock, Server, Waiter};

#[derive(Debug)]
pub(super) struct Client {
    pub(super) server: Arc<Server>,
    pub(super) number: usize,
    pub(super) link: Arc<Link>,
    pub(super) capabilities: Capabilities,
}

impl Client {
    fn defect(&self) -> Defect {
        self.server.defect
    }

    fn reach(&self) -> Result<()> {
        if self.link.closed.is_cancelled() {
            return Err(Error::closed("this client"));
        }
        if self.link.dead.load(Ordering::SeqCst) {
            return Err(Error::new(
                ErrorKind::LeaseLost,
                "the session of this client is over",
            ));
        }
        self.server.lock().reach(&self.link, self.defect())
    }

    fn check(&self, key: &str, ttl: Duration) -> Result<Duration> {
        if self.defect() == Defect::AsksBeforeChecking {
            self.reach()?;
        }
        if self.defect() != Defect::CutsLongNames || key.is_empty() {
            LIMITS.check_key("lock name", key)?;
        }
        let ttl = match self.defect() {
            Defect::ShortensLongLeases => ttl.min(LIMITS.max_ttl),
            _ => ttl,
        };
        LIMITS.check_ttl(ttl)?;
        Ok(match self.defect() {
            Defect::RoundsUpToAMinute if ttl < Duration::from_secs(1) => Duration::from_secs(60),
            _ => ttl,
        })
    }

    /// A guard that says `ttl`, whatever the server does with it.
    fn guard(&self, key: &str, ttl: Duration, held: Held, waited: bool) -> LockGuard {
        let keeper = Arc::new(Keeper {
            server: Arc::clone(&self.server),
            client: self.number,
            link: Arc::clone(&self.link),
            key: self.server.stored(key),
            token: held.token,
            waited,
            ttl,
            granted_at: held.at,
        });
        if self.defect() == Defect::KeepsItselfAlive {
            tokio::spawn(Arc::clone(&keeper).keep_alive(held.ttl / 3));
        }
        let token = match self.defect() {
            Defect::TokenOfTheClient => self.number as u64 + 1,
            _ => held.token,
        };
        let lease = Lease::keep(keeper, LeaseOptions::new(ttl), held.at);
        let name = match self.defect() {
            Defect::NamesGuardsItsOwnWay => format!("locks/{key}"),
            _ => key.to_owned(),
        };
        LockGuard::new(name, FencingToken(token), lease)
    }

    fn try_take(&self, key: &str, ttl: Duration) -> Option<Held> {
        let (server, now) = (&*self.server, Instant::now());
        let key = server.stored(key);
        let mut state = server.lock();
        server.tidy(&mut state, &key, now);
        let lock = state.locks.entry(key.clone()).or_default();
        let first = !std::mem::replace(&mut lock.used, true);
        let held = lock.held;
        let returned = state.returned.get(&(self.number, key.clone())).copied();
        let free = match (self.defect(), held) {
            (Defect::RefusesFirst, None) => !first,
            (Defect::Reentrant, Some(held)) => held.client == self.number,
            (Defect::SeesGrantsLate, Some(held)) => {
                held.tried && held.client != self.number && held.at + Duration::from_millis(50) > now
            }
            (Defect::DelaysOwnReturn, None) => returned.is_none_or(|at| at + ttl <= now),
            (_, held) => held.is_none(),
        };
        if !free {
            return None;
        }
        let held = state.hold(&key, self.number, ttl, now);
        if let Some(held) = state.locks.get_mut(&key).and_then(|lock| lock.held.as_mut()) {
            held.tried = true;
        }
        Some(held)
    }

    fn enqueue(&self, key: &str, ttl: Duration) -> Result<Place<'_>> {
        let (server, now) = (&*self.server, Instant::now());
        let stored = server.stored(key);
        let mut state = server.lock();
        if self.defect() == Defect::KeepsPlacesOfTimedOut && state.timed_out > 50 {
            return Err(Error::new(ErrorKind::ResourceExhausted, "no place in the queue"));
        }
        server.tidy(&mut state, &stored, now);
        let waiter = Waiter {
            number: state.number(),
            client: self.number,
            ttl,
            asked_at: now,
        };
        let lock = state.locks.entry(stored.clone()).or_default();
        lock.queue.push_back(waiter);
        let free = lock.held.is_none() && lock.queue.len() == 1;
        if free && self.defect() != Defect::WaitsForARelease {
            server.vacate(&mut state, &stored, now);
        }
        Ok(Place {
            client: self,
            key: stored,
            number: waiter.number,
        })
    }
}

/// A place in the queue, or a grant that was not taken.
struct Place<'c> {
    client: &'c Client,
    key: String,
    number: u64,
}

impl Place<'_> {
    fn take(&self) -> Option<Held> {
        self.client.server.lock().granted.remove(&self.number)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let server = &*self.client.server;
        let defect = server.defect;
        let mut state = server.lock();
        if let Some(held) = state.granted.remove(&self.number) {
            let ours = state.is_held_under(&self.key, held.token);
            if ours && defect != Defect::KeepsUntakenGrants {
                server.vacate(&mut state, &self.key, Instant::now());
            } else if ours
                && let Some(held) = state.locks.get_mut(&self.key).and_then(|lock| lock.held.as_mut())
            {
                held.ends_at += Duration::from_secs(24 * 3600);
            }
        } else if defect != Defect::GhostInTheQueue
            && let Some(lock) = state.locks.get_mut(&self.key)
        {
            lock.queue.retain(|waiter| waiter.number != self.number);
        }
        drop(state);
        server.changed.notify_waiters();
    }
}

#[async_trait]
impl Backend for Client {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.reach()
    }

    async fn shutdown(&self, _deadline: Duration) -> Result<()> {
        self.link.closed.cancel();
        let server = &*self.server;
        let mut state = server.lock();
        let held = |lock: &Lock| lock.held.is_some_and(|held| held.client == self.number);
        let keys: Vec<String> = state
            .locks
            .iter()
            .filter(|(_, lock)| held(lock))
            .map(|(key, _)| key.clone())
            .collect();
        if self.defect() != Defect::RenewsAfterShutdown {
            keys.iter()
                .for_each(|key| server.vacate(&mut state, key, Instant::now()));
        }
        drop(state);
        server.changed.notify_waiters();
        Ok(())
    }
}

#[async_trait]
impl Locks for Client {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        let ttl = self.check(key, options.ttl)?;
        self.reach()?;
        let (server, begun) = (&*self.server, Instant::now());
        let deadline = begun + options.wait;
        let place = self.enqueue(key, ttl)?;
        loop {
            let changed = server.changed.notified();
            if self.link.closed.is_cancelled() {
                return Err(match self.defect() {
                    Defect::ClosedAsTimeout => Error::new(ErrorKind::Timeout, "the wait was cut short"),
                    _ => Error::closed("this client"),
                });
            }
            if let Some(held) = place.take() {
                return Ok(self.guard(key, options.ttl, held, true));
            }
            let now = Instant::now();
            if now >= deadline {
                server.lock().timed_out += 1;
                return Err(timed_out(key, begun.elapsed(), self.defect()));
            }
            let again = match self.defect() {
                Defect::WaitersHearOnlyReleases => deadline,
                Defect::PollsEveryFiveSeconds => deadline.min(now + Duration::from_secs(5)),
                _ => server
                    .lease_end(&place.key, now)
                    .unwrap_or(deadline)
                    .min(deadline),
            };
            let hears = self.defect() != Defect::PollsEveryFiveSeconds;
            tokio::select! {
                () = changed, if hears => {}
                () = self.link.closed.cancelled() => {}
                () = sleep_until(again) => {
                    if self.defect() != Defect::WaitersHearOnlyReleases {
                        server.tidy(&mut server.lock(), &place.key, again);
                    }
                }
            }
        }
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        let stored_ttl = self.check(key, ttl)?;
        if self.defect() != Defect::OpenAfterShutdown || !self.link.closed.is_cancelled() {
            self.reach()?;
        }
        let held = self.try_take(key, stored_ttl);
        Ok(held.map(|held| self.guard(key, ttl, held, false)))
    }
}

fn timed_out(key: &str, waited: Duration, defect: Defect) -> Error {
    let kind = match defect {
        Defect::TimesOutAsUnavailable => ErrorKind::Unavailable,
        _ => ErrorKind::Timeout,
    };
    Error::new(kind, format!("lock {key:?} was still held after {waited:?}"))
}

#[derive(Debug)]
struct Keeper {
    server: Arc<Server>,
    client: usize,
    link: Arc<Link>,
    key: String,
    token: u64,
    waited: bool,
    ttl: Duration,
    granted_at: Instant,
}

impl Keeper {
    async fn keep_alive(self: Arc<Self>, pause: Duration) {
        while self.extend().is_ok() {
            tokio::time::sleep(pause).await;
        }
    }

    fn extend(&self) -> Result<()> {
        let (server, now) = (&*self.server, Instant::now());
        let defect = server.defect;
        if self.link.closed.is_cancelled() && defect != Defect::RenewsAfterShutdown {
            return Err(lost());
        }
        let mut state = server.lock();
        if let Err(away) = state.reach(&self.link, defect) {
            return match defect {
                Defect::SwallowsFailedRenewals => Ok(()),
                Defect::GivesUpAtOnce => Err(lost()),
                _ => Err(away),
            };
        }
        server.tidy(&mut state, &self.key, now);
        if !state.is_held_under(&self.key, self.token) {
            self.link
                .dead
                .store(defect == Defect::DeadAfterALoss, Ordering::SeqCst);
            return match defect {
                Defect::TellsLossLate if now < self.granted_at + self.ttl * 3 => Ok(()),
                Defect::HidesLossFromTriers if !self.waited => Ok(()),
                Defect::HidesLossFromWaiters if self.waited => Ok(()),
                _ => Err(lost()),
            };
        }
        if let Some(held) = state.locks.get_mut(&self.key).and_then(|lock| lock.held.as_mut()) {
            held.ends_at = match defect {
                Defect::DoesNotExtend => held.ends_at,
                Defect::RenewsForEver => now + Duration::from_secs(24 * 3600),
                _ => now + held.ttl,
            };
        }
        Ok(())
    }
}

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        self.extend()
    }

    async fn release(&self) -> Result<()> {
        let (server, now) = (&*self.server, Instant::now());
        let mut state = server.lock();
        state.reach(&self.link, server.defect)?;
        server.tidy(&mut state, &self.key, now);
        let ours = state.is_held_under(&self.key, self.token);
        if !ours && server.defect != Defect::ReleasesForeign {
            return Err(lost());
        }
        state.returned.insert((self.client, self.key.clone()), now);
        server.vacate(&mut state, &self.key, now);
        Ok(())
    }
}

fn lost() -> Error {
    Error::new(
        ErrorKind::LeaseLost,
        "the lock is not held under this token any more",
    )
}
