//! The contracts: what business code asks, and what a store of buckets must be able to do.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::decision::{Basis, Decision};
use super::quota::Quota;
use crate::backend::Backend;
use crate::error::Result;

/// One of several checks that are decided together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Check {
    /// Who or what is limited: `user:123`.
    pub resource: String,
    /// The name of the rule.
    pub rule: String,
    /// How many tokens it costs; at least 1.
    pub cost: u32,
}

impl Check {
    /// A check that costs one token.
    #[must_use]
    pub fn new(resource: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            resource: resource.into(),
            rule: rule.into(),
            cost: 1,
        }
    }

    /// The same check at another cost.
    #[must_use]
    pub fn with_cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }
}

/// Decides whether calls may go on. Business code uses this trait and [`RateLimiterExt`].
///
/// # Contract
/// - In any window of length *t*, no more than `capacity + rate·t` tokens of a bucket are given out, however many callers ask
///   at once.
/// - A check that is denied takes nothing.
/// - Two resources, or two rules, never share a bucket, whatever characters their names consist of.
/// - A change of a rule keeps the tokens of its buckets, up to the new capacity.
/// - A rule that does not exist denies, unless configured otherwise. That the buckets cannot be reached is no error but a
///   decision, made as configured; [`Decision::basis`] tells.
#[crate::intercept(component = "rate_limit")]
#[async_trait]
pub trait RateLimiter: Backend {
    /// Takes `cost` tokens from the bucket of `resource` under `rule`, if it holds that many.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty or oversized name, a cost of zero, or a cost above
    /// the rule's capacity, which could never pass.
    ///
    /// # Cancellation
    /// Dropping the future takes the tokens or does not; with a shared store nobody can tell.
    async fn check_n(&self, resource: &str, rule: &str, cost: u32) -> Result<Decision>;

    /// Takes the tokens of all checks, or none of them; one decision for each, in order. Each says whether its own bucket held
    /// enough, so the whole passed if all of them are allowed.
    ///
    /// # Errors
    /// As [`check_n`](Self::check_n), for any of them.
    ///
    /// # Cancellation
    /// As [`check_n`](Self::check_n), for all of them together.
    async fn check_all(&self, checks: &[Check]) -> Result<Vec<Decision>>;
}

/// Convenience over any [`RateLimiter`]; do not implement it.
#[async_trait]
pub trait RateLimiterExt: RateLimiter {
    /// Takes one token from the bucket of `resource` under `rule`, if there is one.
    ///
    /// # Errors
    /// As [`RateLimiter::check_n`].
    ///
    /// # Cancellation
    /// As [`RateLimiter::check_n`].
    async fn check(&self, resource: &str, rule: &str) -> Result<Decision> {
        self.check_n(resource, rule, 1).await
    }

    /// Waits until a token could be taken, at most `max_wait`.
    ///
    /// Nothing is reserved while waiting: those that wait race for what comes in, in no order.
    ///
    /// # Errors
    /// At once, if the token cannot come within `max_wait`, and whenever waiting would not help; see
    /// [`Decision::into_result`]. Otherwise as [`RateLimiter::check_n`].
    ///
    /// # Cancellation
    /// Dropping the future while it waits loses nothing.
    async fn acquire(&self, resource: &str, rule: &str, max_wait: Duration) -> Result<Decision> {
        let started = Instant::now();
        loop {
            let decision = self.check_n(resource, rule, 1).await?;
            let waiting_helps = matches!(decision.basis, Basis::Bucket | Basis::LocalFallback);
            if decision.allowed || !waiting_helps {
                return decision.into_result();
            }
            if started.elapsed().saturating_add(decision.retry_after) > max_wait {
                return decision.into_result();
            }
            // The clock of timers ticks in milliseconds; less than one would spin.
            tokio::time::sleep(decision.retry_after.max(Duration::from_millis(1))).await;
        }
    }
}

impl<L: RateLimiter + ?Sized> RateLimiterExt for L {}

/// Tokens to take from one bucket of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Take {
    /// The key of the bucket.
    pub key: String,
    /// Its capacity and rate.
    pub quota: Quota,
    /// How many tokens; at least 1, at most the capacity.
    pub cost: u32,
}

impl Take {
    /// Tokens to take from the bucket `key`.
    #[must_use]
    pub fn new(key: impl Into<String>, quota: Quota, cost: u32) -> Self {
        Self {
            key: key.into(),
            quota,
            cost,
        }
    }
}

/// Keeps buckets, for one process or for a fleet.
///
/// # Contract
/// - One round trip per call, however many buckets; atomic against all other calls.
/// - The time is the store's own, never the caller's.
/// - A bucket that does not exist is full. One that is full again expires by itself.
/// - When the quota of a bucket is another than before, the tokens gained until now were gained at the old rate, and no more of
///   them are kept than the new capacity.
/// - What a script cannot keep between restarts of its server, it loads again by itself.
/// - Without [`AtomicAcrossKeys`](crate::capability::Capability::AtomicAcrossKeys), the keys of one call must share a hash tag;
///   those that [`Limiter`](super::Limiter) makes for one resource do.
#[crate::intercept(component = "rate_limit_store")]
#[async_trait]
pub trait RateLimitStore: Backend {
    /// Takes all of `takes`, or none of them if any bucket holds too little; one decision for each, in order, that says
    /// whether its own bucket held enough. A bucket that is named twice must hold the sum.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a cost of zero or above the capacity;
    /// [`ResourceExhausted`](crate::ErrorKind::ResourceExhausted) when the store can hold no further bucket.
    ///
    /// # Cancellation
    /// Dropping the future takes all or nothing; nobody can tell which.
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>>;
}

crate::assert_object_safe!(RateLimiter, RateLimitStore);
