//! The frozen vocabulary of failures.

use std::fmt;
use std::time::Duration;

/// What went wrong, as one of a closed set that code can match on and metrics can count.
///
/// The names returned by [`ErrorKind::name`] are frozen: they are stored in metric databases and alert rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A thing that the operation needs does not exist (an absent *value* is `Ok(None)`, not this).
    NotFound,
    /// A thing to be created is there already; a unique constraint was violated.
    AlreadyExists,
    /// Somebody else changed the state first: a stale version, a deadlock, a serialisation failure.
    Conflict,
    /// The caller's argument can never be accepted.
    InvalidArgument,
    /// The configuration can never work.
    InvalidConfig,
    /// The server does not know who is calling: wrong or missing credentials.
    Unauthenticated,
    /// The server knows who is calling and refuses.
    PermissionDenied,
    /// A rate limit refused the call.
    RateLimited,
    /// A circuit breaker refused the call.
    CircuitOpen,
    /// A bounded resource (buffer, pool, quota, disk) is full.
    ResourceExhausted,
    /// The backend cannot be reached or is not ready.
    Unavailable,
    /// The time allowed ran out.
    Timeout,
    /// The caller, or a shutdown on its behalf, gave up.
    Cancelled,
    /// A lease (lock, instance id, registration) is no longer held.
    LeaseLost,
    /// The component was shut down.
    Closed,
    /// This backend does not offer the operation; see [`crate::capability::Capabilities`].
    Unsupported,
    /// Stored data cannot be understood.
    DataCorrupted,
    /// The operation may or may not have taken effect: the connection was lost while it was being decided.
    OutcomeUnknown,
    /// A defect on our side, or an error that the backend's table does not know.
    Internal,
}

impl ErrorKind {
    /// Every kind, in declaration order.
    pub const ALL: [Self; 19] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::InvalidArgument,
        Self::InvalidConfig,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::RateLimited,
        Self::CircuitOpen,
        Self::ResourceExhausted,
        Self::Unavailable,
        Self::Timeout,
        Self::Cancelled,
        Self::LeaseLost,
        Self::Closed,
        Self::Unsupported,
        Self::DataCorrupted,
        Self::OutcomeUnknown,
        Self::Internal,
    ];

    /// The frozen name, used as a metric label and in messages.
    ///
    /// ```
    /// assert_eq!(infra_core::ErrorKind::LeaseLost.name(), "lease_lost");
    /// ```
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Conflict => "conflict",
            Self::InvalidArgument => "invalid_argument",
            Self::InvalidConfig => "invalid_config",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::RateLimited => "rate_limited",
            Self::CircuitOpen => "circuit_open",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::LeaseLost => "lease_lost",
            Self::Closed => "closed",
            Self::Unsupported => "unsupported",
            Self::DataCorrupted => "data_corrupted",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Internal => "internal",
        }
    }

    /// Whether the fault lies with the caller's own request rather than with the backend's health.
    ///
    /// A circuit breaker does not count these: a caller that sends nonsense must not close the service to others.
    #[must_use]
    pub const fn is_caller_fault(self) -> bool {
        matches!(
            self,
            Self::NotFound
                | Self::AlreadyExists
                | Self::Conflict
                | Self::InvalidArgument
                | Self::InvalidConfig
                | Self::PermissionDenied
                | Self::Cancelled
                | Self::Unsupported
        )
    }

    /// What a fresh error of this kind says about repeating, unless the backend's table says otherwise.
    pub(super) const fn default_retry(self) -> Retry {
        match self {
            Self::RateLimited | Self::ResourceExhausted | Self::Unavailable | Self::Timeout => Retry::Backoff,
            _ => Retry::Never,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What repeating the failed operation would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// Repeating gives the same error: do not.
    Never,
    /// The failure may pass; repeat after a delay of the caller's choosing.
    Backoff,
    /// The failure may pass, and not before this delay.
    After(Duration),
    /// The failure may pass, but somebody below already repeated as often as allowed: do not multiply the attempts.
    Exhausted,
}
