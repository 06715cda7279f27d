//! Administration of topics.

use std::num::NonZeroU32;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::Backend;
use crate::error::Result;

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions it has. Default: the broker's.
    pub partitions: Option<NonZeroU32>,
    /// How many copies the broker keeps. Default: the broker's.
    pub replicas: Option<NonZeroU32>,
    /// How long messages are kept. Default: the broker's.
    pub retention: Option<Duration>,
}

impl TopicSpec {
    /// A topic with the broker's defaults.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            partitions: None,
            replicas: None,
            retention: None,
        }
    }

    /// Sets the number of partitions.
    #[must_use]
    pub fn with_partitions(mut self, partitions: NonZeroU32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// Sets the number of copies.
    #[must_use]
    pub fn with_replicas(mut self, replicas: NonZeroU32) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Sets how long messages are kept.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionInfo {
    /// Its number.
    pub partition: u32,
    /// The offset of the oldest message that is kept.
    pub first_offset: u64,
    /// The offset that the next message gets.
    pub next_offset: u64,
}

impl PartitionInfo {
    /// Puts the numbers together.
    #[must_use]
    pub const fn new(partition: u32, first_offset: u64, next_offset: u64) -> Self {
        Self {
            partition,
            first_offset,
            next_offset,
        }
    }
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its partitions, by number; one where the broker has none.
    pub partitions: Vec<PartitionInfo>,
}

impl TopicInfo {
    /// Puts a description together.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: Vec<PartitionInfo>) -> Self {
        Self {
            name: name.into(),
            partitions,
        }
    }
}

/// How far a group is behind in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerLag {
    /// The partition's number.
    pub partition: u32,
    /// The messages that are not settled yet.
    pub messages: u64,
}

impl ConsumerLag {
    /// Puts the numbers together.
    #[must_use]
    pub const fn new(partition: u32, messages: u64) -> Self {
        Self { partition, messages }
    }
}

/// Administration of topics.
#[crate::intercept(component = "topic_admin")]
#[async_trait]
pub trait TopicAdmin: Backend {
    /// Creates a topic.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists).
    async fn create_topic(&self, topic: TopicSpec) -> Result<()>;

    /// Deletes a topic with its messages; `false` when there was none.
    #[call(idempotent)]
    async fn delete_topic(&self, topic: &str) -> Result<bool>;

    /// The names of all topics, in order; those that the broker keeps for itself are left out.
    #[call(idempotent)]
    async fn list_topics(&self) -> Result<Vec<String>>;

    /// A topic, or `None`.
    #[call(idempotent)]
    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicInfo>>;

    /// How far a group is behind, by partition.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) for an unknown topic or group.
    #[call(idempotent)]
    async fn consumer_lag(&self, group: &str, topic: &str) -> Result<Vec<ConsumerLag>>;
}

crate::assert_object_safe!(TopicAdmin);
