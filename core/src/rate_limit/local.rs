//! Buckets in this process: sharded, bounded, expiring without a sweep.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::contract::{RateLimitStore, Take};
use super::decision::Decision;
use super::quota::Quota;
use crate::backend::Backend;
use crate::capability::{Capabilities, Capability, Limits};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

const BACKEND: &str = "local";
const SHARDS: usize = if cfg!(all(test, interleave)) { 4 } else { 64 };
/// Full buckets that are looked for when one is added, so that expiry costs each addition a little and nobody much.
const EXPIRE_PER_ADDITION: usize = 4;
/// The same when there is no room left.
const EXPIRE_FOR_ROOM: usize = 64;
/// How long a bucket has been full, in microseconds, when it is forgotten without need: one in use is not made again and again.
const IDLE: u64 = 1_000_000;

/// Token buckets in this process; also a [`RateLimitStore`].
///
/// A bucket that is full again holds no information and is forgotten a second later, a few at each addition, so that nothing ever stops to
/// sweep. A bucket that is not full is never forgotten: when there are too many, new ones are refused with
/// [`ResourceExhausted`](ErrorKind::ResourceExhausted), since evicting one would give its owner a fresh quota.
///
/// ```
/// use infra_core::rate_limit::{LocalBuckets, Quota};
///
/// let buckets = LocalBuckets::new(100_000);
/// let quota = Quota::new(30.0, 60)?;
/// assert!(buckets.take_now("user:123", quota, 60)?.allowed);
/// assert!(!buckets.take_now("user:123", quota, 1)?.allowed);
/// assert!(buckets.take_now("user:456", quota, 1)?.allowed);
/// # Ok::<(), infra_core::Error>(())
/// ```
pub struct LocalBuckets {
    shards: Box<[Mutex<Shard>]>,
    per_shard: usize,
    seed: u64,
    started: Instant,
    closed: AtomicBool,
    capabilities: Capabilities,
}

#[derive(Default)]
struct Shard {
    buckets: HashMap<Arc<str>, Bucket>,
    /// One entry per bucket: a time before which it is certainly not full.
    full_at: BinaryHeap<Reverse<(u64, Arc<str>)>>,
}

impl LocalBuckets {
    /// Makes room for about `max_buckets` buckets that are not full, and for 64 at the least.
    #[must_use]
    pub fn new(max_buckets: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            per_shard: max_buckets.div_ceil(SHARDS).max(1),
            seed: fastrand::u64(..) | 1,
            started: Instant::now(),
            closed: AtomicBool::new(false),
            capabilities: Capabilities::new(Limits::DEFAULT).with(Capability::AtomicAcrossKeys),
        }
    }

    /// How many buckets are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        (0..SHARDS).map(|shard| self.lock(shard).buckets.len()).sum()
    }

    /// Whether no bucket is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes `cost` tokens from the bucket `key`, if it holds that many; without waiting and, for a bucket that exists,
    /// without allocating.
    ///
    /// # Errors
    /// As [`RateLimitStore::take`].
    pub fn take_now(&self, key: &str, quota: Quota, cost: u32) -> Result<Decision> {
        self.admit(quota, cost)?;
        let now = self.now();
        let mut shard = self.lock(self.shard_of(key));
        let bucket = match shard.buckets.get_mut(key) {
            Some(bucket) => {
                bucket.advance(quota, now);
                bucket
            }
            None => shard.add(key, quota, now, self.per_shard)?,
        };
        Ok(if bucket.take(cost) {
            bucket.allow()
        } else {
            bucket.judge(cost)
        })
    }

    /// Takes all of `takes`, or none of them; see [`RateLimitStore::take`].
    ///
    /// # Errors
    /// As [`RateLimitStore::take`].
    pub fn take_all_now(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        for take in takes {
            self.admit(take.quota, take.cost)?;
        }
        let now = self.now();
        // Locked in the order of their numbers, so that two calls cannot wait for each other.
        let mut shards: BTreeMap<usize, Option<MutexGuard<'_, Shard>>> = takes
            .iter()
            .map(|take| (self.shard_of(&take.key), None))
            .collect();
        for (number, guard) in &mut shards {
            *guard = Some(self.lock(*number));
        }
        let mut find = |take: &Take, change: &mut dyn FnMut(&mut Bucket)| -> Result<()> {
            let Some(Some(shard)) = shards.get_mut(&self.shard_of(&take.key)) else {
                return Ok(()); // every shard was locked above
            };
            match shard.buckets.get_mut(take.key.as_str()) {
                Some(bucket) => change(bucket),
                None => change(shard.add(&take.key, take.quota, now, self.per_shard)?),
            }
            Ok(())
        };

        let mut decisions = Vec::with_capacity(takes.len());
        let mut taken = Vec::with_capacity(takes.len());
        let mut failure = None;
        for take in takes {
            let found = find(take, &mut |bucket| {
                bucket.advance(take.quota, now);
                if bucket.take(take.cost) {
                    taken.push(take);
                    decisions.push(bucket.allow());
                } else {
                    decisions.push(bucket.judge(take.cost));
                }
            });
            if let Err(error) = found {
                failure = Some(error);
                break;
            }
        }
        if failure.is_none() && taken.len() == takes.len() {
            return Ok(decisions);
        }
        for take in taken {
            find(take, &mut |bucket| bucket.give_back(take.cost))?;
        }
        if let Some(error) = failure {
            return Err(error);
        }
        // What the buckets that held enough tell is what they hold now that nothing was taken.
        for (take, decision) in takes.iter().zip(&mut decisions) {
            if decision.allowed {
                find(take, &mut |bucket| *decision = bucket.allow())?;
            }
        }
        Ok(decisions)
    }

    fn admit(&self, quota: Quota, cost: u32) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::closed("the local rate limiter").at("rate_limit", BACKEND, "take"));
        }
        quota
            .check_cost(cost)
            .map_err(|error| error.at("rate_limit", BACKEND, "take"))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spreads keys over the shards by their last bytes and their length: ids differ there. The map inside a shard hashes
    /// the whole key; a bad spread costs contention and nothing else.
    fn shard_of(&self, key: &str) -> usize {
        let mut tail = [0; 8];
        for (to, from) in tail.iter_mut().zip(key.bytes().rev()) {
            *to = from;
        }
        let mixed = (u64::from_le_bytes(tail) ^ (key.len() as u64) << 56).wrapping_mul(self.seed);
        ((mixed ^ mixed >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 58) as usize % SHARDS
    }
}

impl Shard {
    /// Adds a full bucket, forgetting a few that are full.
    #[cold]
    fn add(&mut self, key: &str, quota: Quota, now: u64, limit: usize) -> Result<&mut Bucket> {
        self.forget_full(now.saturating_sub(IDLE), EXPIRE_PER_ADDITION);
        if self.buckets.len() >= limit {
            self.forget_full(now, EXPIRE_FOR_ROOM);
        }
        if self.buckets.len() >= limit {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "there are too many rate limit buckets in use; raise `max_buckets`, or limit fewer distinct resources",
            )
            .without_effect()
            .at("rate_limit", BACKEND, "take"));
        }
        let key: Arc<str> = Arc::from(key);
        self.full_at.push(Reverse((now, Arc::clone(&key))));
        Ok(self
            .buckets
            .entry(key)
            .or_insert_with(|| Bucket::full(quota, now)))
    }

    /// Forgets buckets that were full at `time`.
    fn forget_full(&mut self, time: u64, at_most: usize) {
        for _ in 0..at_most {
            match self.full_at.peek() {
                Some(Reverse((full_at, _))) if *full_at <= time => {}
                _ => return,
            }
            let Some(Reverse((_, key))) = self.full_at.pop() else {
                return;
            };
            let Some(bucket) = self.buckets.get_mut(&key) else {
                continue;
            };
            let full_at = bucket.full_at();
            if full_at <= time {
                self.buckets.remove(&key);
            } else {
                self.full_at.push(Reverse((full_at, key)));
            }
        }
    }
}

#[async_trait]
impl Backend for LocalBuckets {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::closed("the local rate limiter").at("rate_limit", BACKEND, "health"));
        }
        Ok(())
    }

    async fn shutdown(&self, _: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl RateLimitStore for LocalBuckets {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.take_all_now(takes)
    }
}

impl fmt::Debug for LocalBuckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBuckets")
            .field("buckets", &self.len())
            .field("max_buckets", &(self.per_shard * SHARDS))
            .finish_non_exhaustive()
    }
}
