//! The configuration of the in-process queue.

use std::num::NonZeroU32;
use std::time::Duration;

use infra_core::capability::Limits;
use infra_core::config::{Problems, Validate, humane};
use infra_core::queue::runtime::{Redelivery, SourceTraits};
use serde::{Deserialize, Serialize};

/// What a send to a full topic does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overflow {
    /// It waits, first come first served, until there is room. The caller bounds the wait by dropping the future.
    Wait,
    /// It is refused with [`ResourceExhausted`](infra_core::ErrorKind::ResourceExhausted).
    Refuse,
}

/// How an in-process queue behaves: how much it keeps, for how long, and what it does when it is full.
///
/// A message is *pending* while a group has not settled it, or while its topic has no group. Pending messages count against
/// the capacity and are never dropped for lack of room; only those that no group has asked for are dropped, after
/// `retention`. Settled messages are kept for groups that are created late, as far as `replay_messages` and the capacity
/// allow.
///
/// ```
/// use infra_core::config::Validate;
/// use infra_memory::{MemoryQueueConfig, Overflow};
///
/// let config = MemoryQueueConfig::development().with_capacity_messages(1000).with_overflow(Overflow::Refuse);
/// assert!(config.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MemoryQueueConfig {
    /// Partitions of a topic that is created without their number. Default: 8.
    pub partitions: NonZeroU32,
    /// Whether topics are created on first use; dead-letter topics always are. Default: yes.
    pub auto_create: bool,
    /// The most topics. Default: 10 000.
    pub max_topics: usize,
    /// The most consumer groups of a topic. Default: 1000.
    pub max_groups: usize,
    /// The most pending messages of a topic. Default: 100 000.
    pub capacity_messages: usize,
    /// The most bytes (keys, payloads, headers) of pending messages of a topic, and as many again of settled messages
    /// that are kept for replay. Default: 256 MiB.
    pub capacity_bytes: usize,
    /// What a send to a full topic does. Default: it waits.
    pub overflow: Overflow,
    /// How long a message is kept that no group has asked for. Default: 1 hour.
    #[serde(with = "humane")]
    pub retention: Duration,
    /// How many settled messages of a topic are kept for groups that are created late; with zero the queue does not
    /// declare [`Replay`](infra_core::capability::Capability::Replay). Default: 1000.
    pub replay_messages: usize,
    /// How long a member may go on with messages of a partition that moves to another member. Default: 30 s.
    #[serde(with = "humane")]
    pub rebalance_timeout: Duration,
    /// The largest names, keys, payloads and delays; set in code only. Default: [`Limits::DEFAULT`].
    #[serde(skip)]
    pub limits: Limits,
    /// How members settle; set in code only. Default: one by one, and the broker keeps what waits for its next attempt.
    ///
    /// The other ways are those of other brokers, so that what depends on them can be tested without one. By positions, the
    /// broker counts no attempts: what a member leaves unsettled begins anew with the next one.
    #[serde(skip, default = "settled_one_by_one")]
    pub settlement: SourceTraits,
}

const fn settled_one_by_one() -> SourceTraits {
    SourceTraits::each(Redelivery::Broker)
}

impl Default for MemoryQueueConfig {
    fn default() -> Self {
        Self::development()
    }
}

impl MemoryQueueConfig {
    /// The defaults above.
    #[must_use]
    pub const fn development() -> Self {
        Self {
            partitions: NonZeroU32::MIN.saturating_add(7),
            auto_create: true,
            max_topics: 10_000,
            max_groups: 1000,
            capacity_messages: 100_000,
            capacity_bytes: 256 * 1024 * 1024,
            overflow: Overflow::Wait,
            retention: Duration::from_secs(3600),
            replay_messages: 1000,
            rebalance_timeout: Duration::from_secs(30),
            limits: Limits::DEFAULT,
            settlement: settled_one_by_one(),
        }
    }

    /// As in development, but topics must be created before they are used, as fleets do it.
    #[must_use]
    pub const fn production() -> Self {
        let mut config = Self::development();
        config.auto_create = false;
        config
    }

    /// Sets the partitions of topics that are created without their number.
    #[must_use]
    pub const fn with_partitions(mut self, partitions: NonZeroU32) -> Self {
        self.partitions = partitions;
        self
    }

    /// Lets topics be created by [`TopicAdmin`](infra_core::queue::TopicAdmin) only.
    #[must_use]
    pub const fn without_auto_create(mut self) -> Self {
        self.auto_create = false;
        self
    }

    /// Sets the most pending messages of a topic.
    #[must_use]
    pub const fn with_capacity_messages(mut self, messages: usize) -> Self {
        self.capacity_messages = messages;
        self
    }

    /// Sets the most bytes of pending messages of a topic.
    #[must_use]
    pub const fn with_capacity_bytes(mut self, bytes: usize) -> Self {
        self.capacity_bytes = bytes;
        self
    }

    /// Sets what a send to a full topic does.
    #[must_use]
    pub const fn with_overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Sets how long a message is kept that no group has asked for.
    #[must_use]
    pub const fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets how many settled messages of a topic are kept for groups that are created late.
    #[must_use]
    pub const fn with_replay_messages(mut self, messages: usize) -> Self {
        self.replay_messages = messages;
        self
    }

    /// Sets how long a member may go on with messages of a partition that moves to another member.
    #[must_use]
    pub const fn with_rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.rebalance_timeout = timeout;
        self
    }

    /// Sets the largest names, keys, payloads and delays.
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how members settle.
    #[must_use]
    pub const fn with_settlement(mut self, settlement: SourceTraits) -> Self {
        self.settlement = settlement;
        self
    }
}

impl Validate for MemoryQueueConfig {
    fn validate(&self, problems: &mut Problems) {
        for (path, value) in [
            ("max_topics", self.max_topics),
            ("max_groups", self.max_groups),
            ("capacity_messages", self.capacity_messages),
        ] {
            problems.ensure(value > 0, path, "is 0; give at least 1");
        }
        for (path, value) in [
            ("capacity_messages", self.capacity_messages),
            ("capacity_bytes", self.capacity_bytes),
        ] {
            problems.ensure(
                value <= MAX_CAPACITY,
                path,
                format!("is {value}; give at most {MAX_CAPACITY}"),
            );
        }
        // A message is its key, payload and headers, each within its limit.
        let largest = self
            .limits
            .max_value_bytes
            .saturating_mul(2)
            .saturating_add(self.limits.max_key_bytes);
        problems.ensure(
            self.capacity_bytes >= largest,
            "capacity_bytes",
            format!(
                "is {}, too little for one message of the largest size ({largest}); raise it or lower limits",
                self.capacity_bytes
            ),
        );
        problems.ensure(
            !self.retention.is_zero(),
            "retention",
            "is zero, so that messages vanish before a group can ask for them",
        );
    }
}

/// What a semaphore and one acquisition of it can count.
const MAX_CAPACITY: usize = u32::MAX as usize >> 3;
