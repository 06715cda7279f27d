//! The traits: what business code calls, and what a store must be able to do.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::backend::Backend;
use crate::error::Result;

/// What a caller does who finds the work in progress elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Waits for the result, at most so long; then [`Timeout`](crate::ErrorKind::Timeout).
    UpTo(Duration),
    /// Returns [`Conflict`](crate::ErrorKind::Conflict) at once, retryable after the lease.
    Refuse,
}

/// How an idempotent operation is run.
///
/// ```
/// use std::time::Duration;
/// use infra_core::once::{OnceOptions, Waiting};
///
/// let options = OnceOptions::new(Duration::from_secs(24 * 3600))
///     .with_fingerprint("amount=100&to=alice")
///     .with_waiting(Waiting::Refuse);
/// assert_eq!(options.waiting, Waiting::Refuse);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnceOptions {
    /// How long a result is remembered.
    pub ttl: Duration,
    /// Identifies the request: the same key with another fingerprint is [`Conflict`](crate::ErrorKind::Conflict). Any bytes;
    /// a digest of them is stored.
    pub fingerprint: Option<Bytes>,
    /// What to do while the work is in progress elsewhere. Default: wait up to 30 s.
    pub waiting: Waiting,
}

/// Hides the fingerprint, which may hold the request itself.
impl fmt::Debug for OnceOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceOptions")
            .field("ttl", &self.ttl)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl OnceOptions {
    /// Remembers results for `ttl`, waits up to 30 s for work in progress.
    #[must_use]
    pub fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            fingerprint: None,
            waiting: Waiting::UpTo(Duration::from_secs(30)),
        }
    }

    /// Refuses the same key for another request.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: impl Into<Bytes>) -> Self {
        self.fingerprint = Some(fingerprint.into());
        self
    }

    /// Sets what to do while the work is in progress elsewhere.
    #[must_use]
    pub fn with_waiting(mut self, waiting: Waiting) -> Self {
        self.waiting = waiting;
        self
    }
}

/// What became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnceOutcome<T> {
    /// The work was done by this call.
    Executed(T),
    /// The work had been done before; its stored result.
    Replayed(T),
}

impl<T> OnceOutcome<T> {
    /// The result, however it came about.
    pub fn into_inner(self) -> T {
        match self {
            Self::Executed(value) | Self::Replayed(value) => value,
        }
    }

    /// Whether the work had been done before.
    pub const fn is_replay(&self) -> bool {
        matches!(self, Self::Replayed(_))
    }

    /// Turns the result into another.
    pub fn map<U>(self, function: impl FnOnce(T) -> U) -> OnceOutcome<U> {
        match self {
            Self::Executed(value) => OnceOutcome::Executed(function(value)),
            Self::Replayed(value) => OnceOutcome::Replayed(function(value)),
        }
    }
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnceStatus {
    /// Nothing: the next call does the work.
    Unknown,
    /// Somebody is at it.
    InProgress,
    /// It is done and remembered.
    Done,
}

/// The work behind a key, as the object-safe trait takes it.
pub type Work<'w> = BoxFuture<'w, Result<Bytes>>;

/// Idempotent operations. Business code calls the typed form, `OnceExt`.
///
/// # Contract
/// - While a result is remembered, the work of its key is not done again, and every caller gets that result; **never a false
///   success** while the work is still in progress or has failed.
/// - Work that fails releases the key; work whose process dies releases it when its lease ends, not when the ttl ends.
/// - The lease is renewed while the work runs; when it is lost the work is stopped.
#[async_trait]
pub trait Once: fmt::Debug + Send + Sync + 'static {
    /// Does the work unless it was done.
    ///
    /// # Errors
    /// The work's own; [`Conflict`](crate::ErrorKind::Conflict) for another fingerprint, or for work in progress when asked
    /// not to wait; [`Timeout`](crate::ErrorKind::Timeout) when waiting was too short;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a bad key, ttl or an oversized result;
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost) when the claim was lost while the work ran: the work was stopped, or was
    /// done but perhaps not alone; [`OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) when the work was done but its
    /// result could not be stored, so that the next call may do it again.
    ///
    /// # Cancellation
    /// Dropping the future stops the work and releases the key in the background.
    async fn execute_bytes<'w>(
        &self,
        key: &str,
        options: OnceOptions,
        work: Work<'w>,
    ) -> Result<OnceOutcome<Bytes>>;

    /// Forgets a key, so that the next call does the work again; `false` when nothing was known.
    ///
    /// Work in progress loses its lease: it is stopped at the next renewal, and its result is not remembered.
    async fn clear(&self, key: &str) -> Result<bool>;

    /// What is known of a key.
    async fn status(&self, key: &str) -> Result<OnceStatus>;
}

crate::assert_object_safe!(Once);

/// A claim to a key.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The key.
    pub key: String,
    /// Who claims: random, one per call.
    pub owner: String,
    /// How long the claim stands without renewal.
    pub lease: Duration,
    /// A digest of the request's fingerprint, if the caller gave one.
    pub fingerprint: Option<String>,
}

/// Shows the key and the lease.
impl fmt::Debug for ClaimRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimRequest")
            .field("key", &self.key)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

impl ClaimRequest {
    /// Claims `key` for `owner`.
    #[must_use]
    pub fn new(key: impl Into<String>, owner: impl Into<String>, lease: Duration) -> Self {
        Self {
            key: key.into(),
            owner: owner.into(),
            lease,
            fingerprint: None,
        }
    }

    /// Adds the digest of the request's fingerprint.
    #[must_use]
    pub fn with_fingerprint(mut self, digest: Option<String>) -> Self {
        self.fingerprint = digest;
        self
    }
}

/// The answer to a claim.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// The claimant has the key and does the work.
    Acquired {
        /// Strictly greater than for any earlier owner of this key.
        fence: u64,
    },
    /// Somebody else has the key.
    InProgress {
        /// How long that claim stands at most without renewal.
        remaining: Duration,
    },
    /// The work was done.
    Done {
        /// Its result.
        result: Bytes,
    },
    /// The key is known under another fingerprint.
    FingerprintMismatch,
}

/// Hides the result.
impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquired { fence } => write!(f, "Acquired {{ fence: {fence} }}"),
            Self::InProgress { remaining } => write!(f, "InProgress {{ remaining: {remaining:?} }}"),
            Self::Done { result } => write!(f, "Done {{ result_bytes: {} }}", result.len()),
            Self::FingerprintMismatch => f.write_str("FingerprintMismatch"),
        }
    }
}

/// Where claims and results are kept: Redis, a database, memory.
///
/// # Contract
/// - Each method is atomic and one round trip.
/// - `renew`, `complete` and `release` act only for the present owner; else [`LeaseLost`](crate::ErrorKind::LeaseLost), and
///   nothing of the new owner is touched.
/// - An expired claim is as good as none; an expired result too.
/// - What was done by an owner may be repeated by that owner, so that a lost reply can be repaired: a claim by the present
///   owner is [`Acquired`](Claim::Acquired) again under the same fence, and completing again after completing succeeds.
/// - Fingerprints are compared where both the claim and what is known have one.
#[crate::intercept(component = "once_store")]
#[async_trait]
pub trait OnceStore: Backend {
    /// Claims a key, or says how it stands.
    #[call(idempotent)]
    async fn claim(&self, request: ClaimRequest) -> Result<Claim>;

    /// Extends a claim to its full lease from now.
    #[call(idempotent)]
    async fn renew(&self, key: &str, owner: &str, lease: Duration) -> Result<()>;

    /// Stores the result for `ttl` and ends the claim.
    #[call(idempotent)]
    async fn complete(&self, key: &str, owner: &str, result: Bytes, ttl: Duration) -> Result<()>;

    /// Ends the claim without a result.
    async fn release(&self, key: &str, owner: &str) -> Result<()>;

    /// Waits until the key's claim may have changed, at most `timeout`: by notification where the backend has one, else by
    /// polling with growing pauses. Returning early is allowed.
    #[call(idempotent, waits)]
    async fn wait_for_change(&self, key: &str, timeout: Duration) -> Result<()>;

    /// Forgets a key; whether anything was known.
    #[call(idempotent)]
    async fn clear(&self, key: &str) -> Result<bool>;

    /// What is known of a key.
    #[call(idempotent)]
    async fn status(&self, key: &str) -> Result<OnceStatus>;
}

crate::assert_object_safe!(OnceStore);
