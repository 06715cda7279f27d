//! Capabilities as data: what a backend declares, what a consumer requires when it is wired, what the README's matrix shows.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// One thing that some backends offer and others do not.
///
/// An operation whose capability is not declared returns [`ErrorKind::Unsupported`]; it is never emulated silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Capability {
    /// State survives a restart of the process and is shared between processes.
    Durable,
    /// Locks carry fencing tokens that strictly increase across owners.
    Fencing,
    /// Locks, compare-and-set and instance ids stay correct under partition of the backend's own nodes.
    Linearizable,
    /// Waiters get a lock in their order of arrival.
    FairLocks,
    /// A watch can start from a past revision.
    WatchFromRevision,
    /// Several configuration keys change in one transaction.
    ConfigTransactions,
    /// The registry keeps unhealthy instances out of discovery by checks of its own.
    HealthChecks,
    /// Raw scripts in the backend's own language (Lua on Redis).
    RawScripts,
    /// Atomic batches may span any keys (otherwise all keys of a batch must share a hash tag).
    AtomicAcrossKeys,
    /// Messages of one key are delivered in the order in which they were sent.
    PerKeyOrder,
    /// A message can be sent with a delay.
    DelayedDelivery,
    /// A consumer group that is created late can read what was sent before.
    Replay,
    /// A handler can ask for more time before its message is given to somebody else.
    ExtendVisibility,
    /// The broker drops a message that was sent twice under one id.
    ProducerDeduplication,
    /// Several messages, over several topics, become visible together or not at all.
    MessageTransactions,
    /// Transactions nest by savepoints.
    Savepoints,
    /// Statements can return the rows that they changed.
    Returning,
    /// Search results can be highlighted.
    Highlight,
    /// Index aliases can be moved from one index to another.
    Aliases,
}

impl Capability {
    /// Every capability, in declaration order.
    pub const ALL: [Self; 19] = [
        Self::Durable,
        Self::Fencing,
        Self::Linearizable,
        Self::FairLocks,
        Self::WatchFromRevision,
        Self::ConfigTransactions,
        Self::HealthChecks,
        Self::RawScripts,
        Self::AtomicAcrossKeys,
        Self::PerKeyOrder,
        Self::DelayedDelivery,
        Self::Replay,
        Self::ExtendVisibility,
        Self::ProducerDeduplication,
        Self::MessageTransactions,
        Self::Savepoints,
        Self::Returning,
        Self::Highlight,
        Self::Aliases,
    ];

    /// The name shown in the capability matrix and in errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Fencing => "fencing",
            Self::Linearizable => "linearizable",
            Self::FairLocks => "fair_locks",
            Self::WatchFromRevision => "watch_from_revision",
            Self::ConfigTransactions => "config_transactions",
            Self::HealthChecks => "health_checks",
            Self::RawScripts => "raw_scripts",
            Self::AtomicAcrossKeys => "atomic_across_keys",
            Self::PerKeyOrder => "per_key_order",
            Self::DelayedDelivery => "delayed_delivery",
            Self::Replay => "replay",
            Self::ExtendVisibility => "extend_visibility",
            Self::ProducerDeduplication => "producer_deduplication",
            Self::MessageTransactions => "message_transactions",
            Self::Savepoints => "savepoints",
            Self::Returning => "returning",
            Self::Highlight => "highlight",
            Self::Aliases => "aliases",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The sizes and times a backend accepts; anything outside is [`ErrorKind::InvalidArgument`] before any I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest key, topic, lock or index name, in bytes.
    pub max_key_bytes: usize,
    /// The largest value, message payload or document, in bytes.
    pub max_value_bytes: usize,
    /// The shortest time to live or lease.
    pub min_ttl: Duration,
    /// The longest time to live or lease.
    pub max_ttl: Duration,
    /// How late, at most, an expired entry or lease may still be seen.
    pub ttl_granularity: Duration,
    /// The most writes of one transaction of a configuration centre.
    pub max_transaction_writes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Limits {
    /// Limits that fit every planned backend: keys of 1 KiB, values of 1 MiB, leases from 1 ms to a year, 100 ms late,
    /// transactions of 64 writes.
    pub const DEFAULT: Self = Self {
        max_key_bytes: 1024,
        max_value_bytes: 1024 * 1024,
        min_ttl: Duration::from_millis(1),
        max_ttl: Duration::from_secs(366 * 24 * 3600),
        ttl_granularity: Duration::from_millis(100),
        max_transaction_writes: 64,
    };

    /// The same limits with another longest key.
    #[must_use]
    pub const fn with_max_key_bytes(mut self, bytes: usize) -> Self {
        self.max_key_bytes = bytes;
        self
    }

    /// The same limits with another largest value.
    #[must_use]
    pub const fn with_max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// The same limits with another range and granularity of times to live.
    #[must_use]
    pub const fn with_ttl(mut self, min: Duration, max: Duration, granularity: Duration) -> Self {
        self.min_ttl = min;
        self.max_ttl = max;
        self.ttl_granularity = granularity;
        self
    }

    /// The same limits with another bound for the writes of one transaction.
    #[must_use]
    pub const fn with_max_transaction_writes(mut self, writes: usize) -> Self {
        self.max_transaction_writes = writes;
        self
    }

    /// Refuses an empty or oversized key; `what` names it in the message (`"key"`, `"topic"`, `"lock name"`).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`].
    pub fn check_key(&self, what: &str, key: &str) -> Result<()> {
        if key.is_empty() {
            return Err(Error::invalid_argument(format!(
                "the {what} is empty; give at least one byte"
            )));
        }
        if key.len() > self.max_key_bytes {
            return Err(Error::invalid_argument(format!(
                "the {what} has {} bytes, more than the {} allowed; shorten it or use a digest of it",
                key.len(),
                self.max_key_bytes
            )));
        }
        Ok(())
    }

    /// Refuses an oversized value; `what` names it in the message (`"value"`, `"payload"`, `"document"`).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`].
    pub fn check_value(&self, what: &str, bytes: usize) -> Result<()> {
        if bytes > self.max_value_bytes {
            return Err(Error::invalid_argument(format!(
                "the {what} has {bytes} bytes, more than the {} allowed; split it or store a reference",
                self.max_value_bytes
            )));
        }
        Ok(())
    }

    /// Refuses a time to live that is zero or outside the backend's range: never rounded, never replaced.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`].
    pub fn check_ttl(&self, ttl: Duration) -> Result<()> {
        if ttl < self.min_ttl || ttl > self.max_ttl || ttl.is_zero() {
            return Err(Error::invalid_argument(format!(
                "a time to live of {ttl:?} is outside what this backend accepts ({:?} to {:?})",
                self.min_ttl, self.max_ttl
            )));
        }
        Ok(())
    }
}

/// What a backend declares of itself: the set of its [`Capability`] values and its [`Limits`].
///
/// ```
/// use infra_core::capability::{Capabilities, Capability, Limits};
///
/// let declared = Capabilities::new(Limits::DEFAULT).with(Capability::Fencing);
/// assert!(declared.require("locks", "memory", &[Capability::Fencing]).is_ok());
///
/// let refused = declared.require("locks", "memory", &[Capability::Durable]).unwrap_err();
/// assert_eq!(refused.kind(), infra_core::ErrorKind::Unsupported);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    declared: BTreeSet<Capability>,
    limits: Limits,
}

impl Capabilities {
    /// No capability, these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            declared: BTreeSet::new(),
            limits,
        }
    }

    /// The same set with `capability` declared.
    #[must_use]
    pub fn with(mut self, capability: Capability) -> Self {
        self.declared.insert(capability);
        self
    }

    /// Whether `capability` is declared.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.declared.contains(&capability)
    }

    /// The declared capabilities, in a stable order.
    pub fn iter(&self) -> impl Iterator<Item = Capability> + '_ {
        self.declared.iter().copied()
    }

    /// The sizes and times that are accepted.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Refuses at wiring time a backend that lacks any of `needed`.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] that names the component, the backend and every missing capability.
    pub fn require(
        &self,
        component: &'static str,
        backend: &'static str,
        needed: &[Capability],
    ) -> Result<()> {
        let missing: Vec<_> = needed
            .iter()
            .filter(|c| !self.has(**c))
            .map(|c| c.name())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the wiring requires {}, which this backend does not declare; choose another backend or drop the requirement",
                missing.join(", ")
            ),
        )
        .without_effect()
        .at(component, backend, "require"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_refuse_before_io_and_say_what_to_do() {
        let limits = Limits::DEFAULT.with_max_key_bytes(4);
        for (key, fits) in [("", false), ("four", true), ("fives", false), ("é\u{e9}", true)] {
            assert_eq!(limits.check_key("key", key).is_ok(), fits, "{key:?}");
        }
        assert!(limits.check_ttl(Duration::ZERO).is_err());
        assert!(limits.check_ttl(Duration::MAX).is_err());
        assert!(limits.check_value("value", limits.max_value_bytes + 1).is_err());
    }
}
