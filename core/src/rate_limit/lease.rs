//! Tokens taken from a shared store in lots and given out here, so that most checks need no round trip.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::contract::{RateLimitStore, Take};
use super::decision::Decision;
use super::purse::Purse;
use super::quota::Quota;
use crate::backend::Backend;
use crate::capability::Capabilities;
use crate::config::{Problems, Validate, humane};
use crate::error::{Error, Result};

/// The longest lease: the quota is exceeded by what comes in during one, so longer ones are no limits any more.
const LONGEST: Duration = Duration::from_secs(60);

/// How many tokens a process takes from the shared store at once, and for how long.
///
/// ```
/// use std::time::Duration;
/// use infra_core::config::Validate;
/// use infra_core::rate_limit::LeaseConfig;
///
/// // In a file: lease = { time = "100ms", share = 0.1 }
/// assert!(LeaseConfig::default().check().is_ok());
/// assert!(LeaseConfig::default().with_time(Duration::ZERO).check().is_err());
/// assert!(LeaseConfig::default().with_share(1.5).check().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LeaseConfig {
    /// How long tokens may be used after they were taken; a lot is at most what the bucket gains meanwhile. Default: 100 ms.
    #[serde(with = "humane")]
    pub time: Duration,
    /// The part of a bucket's capacity that a lot may be, from 0 to 1. Default: 0.1.
    pub share: f64,
}

impl Default for LeaseConfig {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(100),
            share: 0.1,
        }
    }
}

impl LeaseConfig {
    /// The same with another time.
    #[must_use]
    pub fn with_time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// The same with another part of the capacity.
    #[must_use]
    pub fn with_share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// The largest lot.
    fn largest(&self, quota: Quota) -> u32 {
        let gained = quota.rate() * self.time.as_secs_f64();
        let share = f64::from(quota.capacity()) * self.share;
        // The conversion saturates, and a share is below the capacity.
        gained.min(share) as u32
    }
}

impl Validate for LeaseConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            !self.time.is_zero() && self.time <= LONGEST,
            "time",
            "must be above zero, and 1m at most",
        );
        problems.ensure(
            self.share > 0.0 && self.share <= 1.0,
            "share",
            "must be a number above 0, and 1 at most",
        );
    }
}

/// A [`RateLimitStore`] that takes tokens from another one in lots and gives them out itself.
///
/// # What it costs
/// - **Over-admission.** A token is used at most [`time`](LeaseConfig::time) after it was taken. So in any window of length *t* no more
///   than `capacity + rate·(t + time)` tokens of a bucket pass, in the whole fleet and however many processes it has: `rate·time`
///   more than without leases.
/// - **Under-admission.** Tokens that are not used in that time are lost; they do not go back. A lot begins at what is asked for,
///   doubles when it was used up in time and falls to what was used when it was not, so a process loses at most as many tokens as it has
///   used, and one, in each lease; never more than a lot, which is the smaller of `rate·time` and `capacity·share`. While one
///   process holds them, another may be denied.
/// - **Waiting.** After a denial the bucket is not asked again for a tenth of `time`, or until it can hold enough, if that is later.
/// - [`Decision::remaining`] and [`reset_after`](Decision::reset_after) are what the store said with the last lot, plus what is left of
///   that.
///
/// Round trips drop to about one for each lot; where `rate·time` or `capacity·share` are below two, every take is a round trip as
/// before. A call that takes from several buckets goes to the store as it is.
///
/// Buckets are remembered while they are in use, at most as many as [`new`](Self::new) was told; takes from further ones go to the store.
pub struct TokenLeases {
    store: Arc<dyn RateLimitStore>,
    config: LeaseConfig,
    max_buckets: usize,
    entries: Mutex<Entries>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Entries {
    of: HashMap<Arc<str>, Entry>,
    /// When those that are not in use were last looked for.
    swept: Option<Instant>,
}

struct Entry {
    purse: Purse,
    queue: Arc<Queue>,
}

/// Those who wait for one bucket: one of them asks the store for all.
#[derive(Default)]
struct Queue {
    turn: tokio::sync::Mutex<()>,
    /// The tokens that they need together.
    wanted: AtomicU64,
}

/// Somebody's place in the queue.
struct Wanting<'q>(&'q Queue, u32);

impl Queue {
    fn want(&self, cost: u32) -> Wanting<'_> {
        self.wanted.fetch_add(cost.into(), Ordering::Relaxed);
        Wanting(self, cost)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(self.1.into(), Ordering::Relaxed);
    }
}

/// What can be said without the store.
enum Here {
    Decided(Decision),
    Ask(Arc<Queue>),
    /// There is no room to remember another bucket.
    Full,
}

impl TokenLeases {
    /// Leases of the tokens in `store`, for about `max_buckets` buckets at the same time.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) lists everything that is wrong with `config`.
    pub fn new(store: Arc<dyn RateLimitStore>, config: LeaseConfig, max_buckets: usize) -> Result<Self> {
        config.check()?;
        Ok(Self {
            store,
            config,
            max_buckets: max_buckets.max(1),
            entries: Mutex::default(),
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::closed("the leases of tokens").at("rate_limit", self.store.backend(), "take"));
        }
        Ok(())
    }

    async fn take_one(&self, take: &Take) -> Result<Decision> {
        if self.config.largest(take.quota) < 2 {
            return self.ask(take, take.cost).await;
        }
        let queue = match self.here(take) {
            Here::Decided(decision) => return Ok(decision),
            Here::Full => return self.ask(take, take.cost).await,
            Here::Ask(queue) => queue,
        };
        let _wanting = queue.want(take.cost);
        let _turn = queue.turn.lock().await;
        // Whoever had the turn before may have taken enough for all.
        match self.here(take) {
            Here::Decided(decision) => Ok(decision),
            Here::Full => self.ask(take, take.cost).await,
            Here::Ask(_) => self.take_lot(take, &queue).await,
        }
    }

    /// Decides with the tokens that are here.
    fn here(&self, take: &Take) -> Here {
        let now = Instant::now();
        let mut entries = self.lock();
        let known = entries.of.get_mut(take.key.as_str());
        if let Some(here) = known.map(|entry| entry.decide(take, now)) {
            return here;
        }
        entries.make_room(self.max_buckets, self.config.time, now);
        if entries.of.len() >= self.max_buckets {
            return Here::Full;
        }
        entries.add(take, now).decide(take, now)
    }

    /// Takes a lot from the store, or what it has, as long as that is enough for this take.
    async fn take_lot(&self, take: &Take, queue: &Queue) -> Result<Decision> {
        let wanted = u32::try_from(queue.wanted.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        let largest = self.config.largest(take.quota);
        let lot = self.with_purse(take, |purse| purse.next_lot(wanted));
        let mut lot = lot.min(largest).max(take.cost);
        let mut is_first = true;
        loop {
            // The lease begins before the store is asked, so it ends at the latest so long after the tokens were taken.
            let began = Instant::now();
            let answered = self.ask(take, lot).await?;
            if answered.allowed {
                let lease = self.config.time;
                return Ok(self.with_purse(take, |purse| purse.fill(lot, take.cost, answered, began, lease)));
            }
            let left = u32::try_from(answered.remaining).unwrap_or(u32::MAX);
            if lot == take.cost || left < take.cost {
                let pause = self.config.time / 10;
                let more = lot - take.cost;
                return Ok(self.with_purse(take, |purse| purse.deny(take.cost, more, answered, pause)));
            }
            // First what is left, then, if somebody was faster, no more than is needed.
            lot = if is_first { left.min(lot - 1) } else { take.cost };
            is_first = false;
        }
    }

    async fn ask(&self, take: &Take, cost: u32) -> Result<Decision> {
        let asked = [Take::new(take.key.as_str(), take.quota, cost)];
        let decided = self.store.take(&asked).await?;
        decided.first().copied().ok_or_else(|| {
            Error::new(
                crate::ErrorKind::Internal,
                "the store decided nothing; it does not keep the contract of RateLimitStore",
            )
        })
    }

    fn with_purse<T>(&self, take: &Take, change: impl FnOnce(&mut Purse) -> T) -> T {
        let now = Instant::now();
        let mut entries = self.lock();
        let purse = &mut entries.add(take, now).purse;
        purse.be_under(take.quota, now);
        change(purse)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Forgets what is not in use when there is too much, and not at every call when all of it is.
    fn make_room(&mut self, most: usize, lease: Duration, now: Instant) {
        let is_due = self.swept.is_none_or(|swept| now.duration_since(swept) >= lease);
        if self.of.len() >= most && is_due {
            self.swept = Some(now);
            self.of
                .retain(|_, entry| Arc::strong_count(&entry.queue) > 1 || entry.purse.is_in_use(now));
        }
    }

    /// What is known of this bucket, anew if it was forgotten.
    fn add(&mut self, take: &Take, now: Instant) -> &mut Entry {
        let entry = self.of.entry(Arc::from(take.key.as_str()));
        entry.or_insert_with(|| Entry {
            purse: Purse::new(take.quota, now),
            queue: Arc::default(),
        })
    }
}

impl Entry {
    fn decide(&mut self, take: &Take, now: Instant) -> Here {
        self.purse.be_under(take.quota, now);
        match self.purse.take(take.cost, now) {
            Some(decision) => Here::Decided(decision),
            None => Here::Ask(Arc::clone(&self.queue)),
        }
    }
}

#[async_trait]
impl Backend for TokenLeases {
    fn backend(&self) -> &'static str {
        self.store.backend()
    }

    fn capabilities(&self) -> &Capabilities {
        self.store.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.check_open()?;
        self.store.health().await
    }

    /// Ends the leases, and the store.
    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        self.lock().of.clear();
        self.store.shutdown(deadline).await
    }
}

#[async_trait]
impl RateLimitStore for TokenLeases {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.check_open()?;
        match takes {
            [take] => {
                let place = |error: Error| error.at("rate_limit", self.store.backend(), "take");
                take.quota.check_cost(take.cost).map_err(place)?;
                Ok(vec![self.take_one(take).await?])
            }
            _ => self.store.take(takes).await,
        }
    }
}

impl fmt::Debug for TokenLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenLeases")
            .field("store", &self.store)
            .field("config", &self.config)
            .field("buckets", &self.lock().of.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
