//! Locks: a key with an owner and a deadline on the server's clock, and a notice when it is given back.

mod held;
mod queue;
mod scripts;

use std::time::Duration;

use infra_core::coordination::{FencingToken, LockGuard, LockOptions, Locks};
use infra_core::lease::{Lease, LeaseOptions};
use infra_core::{Error, ErrorKind, Result, async_trait};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::held::Held;
use self::queue::Known;
pub(crate) use self::queue::Queues;
use self::scripts::{Answer, Lock};
use crate::BACKEND;
use crate::cache::RedisCache;

/// How long a waiter relies on being told: what is published may be lost between the nodes of a cluster.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The same where the holder may be a program that tells nobody.
const LOOK_AGAIN_UNTOLD: Duration = Duration::from_millis(100);
/// The pause after a wait that was disturbed.
const PAUSE: Duration = Duration::from_millis(100);
/// Spreads those who saw the same deadline.
const JITTER: Duration = Duration::from_millis(10);

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("locks", BACKEND, operation)
}

/// One round trip for a free lock, one to release it, one for each third of its lease.
///
/// Whoever waits is told by the server when the lock is given back, or looks when the holder's lease would be over. In a process only
/// who stands first in line for a lock asks the server; processes among themselves have no order.
///
/// What a lock on Redis guarantees stands in the README's section *Locks*.
#[async_trait]
impl Locks for RedisCache {
    /// A request that is on its way when `wait` is over is heard out, within [`request_timeout`](crate::RedisConfig::request_timeout).
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        let acquire = async {
            let lock = self.lock(key, options.ttl)?;
            tokio::select! {
                biased;
                () = self.client.closed().cancelled() => Err(Error::closed("the client of Redis")),
                granted = Acquisition::new(&lock, key, options).run() => granted,
            }
        };
        acquire.await.map_err(at("acquire"))
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        let acquire = async {
            let lock = self.lock(key, ttl)?;
            match attempt(&lock, key, ttl).await? {
                Attempt::Granted(guard) => Ok(Some(guard)),
                Attempt::Held { .. } => Ok(None),
            }
        };
        acquire.await.map_err(at("try_acquire"))
    }
}

impl RedisCache {
    fn lock(&self, key: &str, ttl: Duration) -> Result<Lock> {
        self.client.check_open()?;
        self.limits().check_key("lock key", key)?;
        self.limits().check_ttl(ttl)?;
        Lock::of(&self.client, key)
    }
}

enum Attempt {
    Granted(LockGuard),
    Held { until: Option<Instant> },
}

async fn attempt(lock: &Lock, name: &str, ttl: Duration) -> Result<Attempt> {
    let (held, asked_at) = (Held::new(lock, ttl), Instant::now());
    Ok(match held.attempt().await? {
        Answer::Granted { fence } => {
            let lease = Lease::keep(held, LeaseOptions::new(ttl), asked_at);
            Attempt::Granted(LockGuard::new(name, FencingToken(fence), lease))
        }
        Answer::Held { left } => Attempt::Held {
            until: left.and_then(|left| Instant::now().checked_add(left)),
        },
    })
}

/// A wait for a lock.
struct Acquisition<'a> {
    lock: &'a Lock,
    name: &'a str,
    options: LockOptions,
    began: Instant,
    /// Whether somebody else was seen to have it: from then on what may pass is waited for.
    was_held: bool,
}

impl<'a> Acquisition<'a> {
    fn new(lock: &'a Lock, name: &'a str, options: LockOptions) -> Self {
        Self {
            lock,
            name,
            options,
            began: Instant::now(),
            was_held: false,
        }
    }

    async fn run(mut self) -> Result<LockGuard> {
        let place = self.lock.client().queues().stand(self.lock.key());
        let mut known = match place.turn_now() {
            Some(known) => known,
            None => {
                self.was_held = true;
                let turn = timeout_at(self.deadline(), place.turn()).await;
                turn.map_err(|_| self.timed_out())?
            }
        };
        loop {
            self.be_told(&mut known).await?;
            match attempt(self.lock, self.name, self.options.ttl).await {
                Ok(Attempt::Granted(guard)) => {
                    known.held_until = Instant::now().checked_add(self.options.ttl);
                    return Ok(guard);
                }
                Ok(Attempt::Held { until }) => {
                    self.was_held = true;
                    known.held_until = until.or_else(|| Instant::now().checked_add(LOOK_AGAIN));
                }
                Err(error) if self.was_held && error.may_pass() => {
                    known.held_until = None;
                    self.disturbed(&error).await?;
                }
                Err(error) => return Err(error),
            }
            self.check_time()?;
            self.listen(&mut known).await?;
        }
    }

    /// Waits until the lock may be free, where it is known to be held and its end will be told.
    async fn be_told(&self, known: &mut Known) -> Result<()> {
        let Known {
            subscription: Some(subscription),
            held_until: Some(until),
        } = known
        else {
            return Ok(());
        };
        let patience = match self.lock.is_told() {
            true => LOOK_AGAIN,
            false => LOOK_AGAIN_UNTOLD.mul_f64(0.5 + fastrand::f64()),
        };
        let until = (*until).min(Instant::now() + patience) + JITTER.mul_f64(fastrand::f64());
        tokio::select! {
            told = subscription.changed() => told?,
            () = sleep_until(until.min(self.deadline())) => {}
        }
        subscription.skip();
        self.check_time()
    }

    /// Listens, if nobody before us did; what happened until then is seen by the next attempt.
    async fn listen(&self, known: &mut Known) -> Result<()> {
        if known.subscription.is_some() {
            return Ok(());
        }
        let subscribing = self.lock.client().notices().subscribe(self.lock.key());
        match timeout_at(self.deadline(), subscribing).await {
            Ok(Ok(subscription)) => {
                known.subscription = Some(subscription);
                known.held_until = None;
                Ok(())
            }
            Ok(Err(error)) if error.kind() == ErrorKind::Closed => Err(error),
            Ok(Err(error)) => self.disturbed(&error).await,
            Err(_) => Err(self.timed_out()),
        }
    }

    async fn disturbed(&self, error: &Error) -> Result<()> {
        tracing::debug!(%error, lock = self.name, "waiting for a lock was disturbed; looking again");
        let again = Instant::now() + PAUSE.mul_f64(0.5 + fastrand::f64());
        sleep_until(again.min(self.deadline())).await;
        self.check_time()
    }

    fn deadline(&self) -> Instant {
        // Longer than any process lives.
        const FOREVER: Duration = Duration::from_secs(1 << 32);
        self.began + self.options.wait.min(FOREVER)
    }

    fn check_time(&self) -> Result<()> {
        if Instant::now() >= self.deadline() {
            return Err(self.timed_out());
        }
        Ok(())
    }

    fn timed_out(&self) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!(
                "lock {:?} was still held by somebody else after {:?}; wait longer, or find out who holds it",
                self.name,
                self.began.elapsed()
            ),
        )
        .without_effect()
    }
}
