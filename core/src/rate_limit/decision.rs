//! The answer to a check.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, Retry};

/// What a decision rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Basis {
    /// The tokens in a bucket.
    Bucket,
    /// The tokens in this process's own bucket, because the shared one could not be reached.
    LocalFallback,
    /// There is no such rule.
    UnknownRule,
    /// The shared bucket could not be reached.
    Unavailable,
}

impl Basis {
    /// The name used in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::LocalFallback => "local_fallback",
            Self::UnknownRule => "unknown_rule",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Whether a call may go on, and what is left; what the `RateLimit-*` and `Retry-After` headers need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decision {
    /// Whether there were enough tokens.
    pub allowed: bool,
    /// The most tokens that the bucket can hold.
    pub limit: u64,
    /// Whole tokens that are left.
    pub remaining: u64,
    /// How long until the same check can pass, if nobody else takes tokens; zero when it passed.
    pub retry_after: Duration,
    /// How long until the bucket is full again, if nobody takes tokens.
    pub reset_after: Duration,
    /// What the decision rests on.
    pub basis: Basis,
}

impl Decision {
    /// The call may go on; the bucket of `limit` tokens now holds `remaining` and is full after `reset_after`.
    #[must_use]
    pub const fn allow(limit: u64, remaining: u64, reset_after: Duration) -> Self {
        Self {
            allowed: true,
            limit,
            remaining,
            retry_after: Duration::ZERO,
            reset_after,
            basis: Basis::Bucket,
        }
    }

    /// The call must not go on; the bucket of `limit` tokens holds `remaining`, enough of them after `retry_after`.
    #[must_use]
    pub const fn deny(limit: u64, remaining: u64, retry_after: Duration, reset_after: Duration) -> Self {
        Self {
            allowed: false,
            limit,
            remaining,
            retry_after,
            reset_after,
            basis: Basis::Bucket,
        }
    }

    /// A decision without a bucket, with all numbers zero.
    #[must_use]
    pub const fn without_bucket(allowed: bool, basis: Basis) -> Self {
        Self {
            allowed,
            limit: 0,
            remaining: 0,
            retry_after: Duration::ZERO,
            reset_after: Duration::ZERO,
            basis,
        }
    }

    /// The same decision on another basis.
    #[must_use]
    pub const fn with_basis(mut self, basis: Basis) -> Self {
        self.basis = basis;
        self
    }

    /// The one of several decisions that says most: of those that deny the longest wait, otherwise the fewest tokens left.
    #[must_use]
    pub fn strictest(decisions: &[Self]) -> Option<Self> {
        decisions.iter().copied().min_by_key(|decision| {
            (
                decision.allowed,
                std::cmp::Reverse(decision.retry_after),
                decision.remaining,
            )
        })
    }

    /// The decision as a result, for callers that go on with `?`.
    ///
    /// # Errors
    /// When denied, without effect: [`RateLimited`](ErrorKind::RateLimited) with [`Retry::After`] for want of tokens;
    /// [`NotFound`](ErrorKind::NotFound) for a rule that does not exist; [`Unavailable`](ErrorKind::Unavailable) when the
    /// shared bucket could not be reached.
    pub fn into_result(self) -> Result<Self> {
        if self.allowed {
            return Ok(self);
        }
        let error = match self.basis {
            Basis::Bucket | Basis::LocalFallback => Error::new(
                ErrorKind::RateLimited,
                format!(
                    "the rate limit is used up; try again after {:.1?}",
                    self.retry_after
                ),
            )
            .with_retry(Retry::After(self.retry_after)),
            Basis::UnknownRule => Error::new(
                ErrorKind::NotFound,
                "there is no rate limit rule of this name; add it to the rules, or correct the name",
            ),
            Basis::Unavailable => Error::new(
                ErrorKind::Unavailable,
                "the rate limiter cannot reach its buckets, and its configuration denies in that case",
            ),
        };
        Err(error.without_effect().at("rate_limit", "", "check"))
    }
}
