//! The queue itself, its administration, and what all parts of it know.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::capability::{Capabilities, Capability};
use infra_core::queue::{
    Consumer, ConsumerLag, Delivery, MessageQueue, Producer, TopicAdmin, TopicInfo, TopicSpec,
};
use infra_core::{Backend, ErrorKind, Result, async_trait};
use infra_memory::MemoryQueue;
use tokio::sync::Semaphore;

use super::Defect;
use super::consumer::BrokenConsumer;
use super::producer::BrokenProducer;

/// A message's place: topic, partition, offset.
pub(super) type Place = (String, Option<u32>, Option<u64>);

pub(super) fn place_of(delivery: &Delivery) -> Place {
    (
        delivery.message.topic.clone(),
        delivery.partition,
        delivery.offset,
    )
}

/// What the defects have to remember.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What handlers work on, by group.
    pub(super) running: Vec<(Arc<str>, Delivery)>,
    /// What was acknowledged by which group, and the last of it.
    pub(super) acknowledged: HashSet<(Arc<str>, Place)>,
    pub(super) last_acknowledged: Option<Delivery>,
    /// What is to be acknowledged without being handled.
    pub(super) skipped: HashSet<Place>,
    pub(super) ids: HashSet<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) defect: Defect,
    pub(super) inner: MemoryQueue,
    pub(super) capabilities: Capabilities,
    pub(super) notes: Mutex<Notes>,
    pub(super) permit: Semaphore,
    pub(super) sending: AtomicU32,
    pub(super) backlog: AtomicI64,
    /// The next delivery is lost.
    pub(super) loses_next: AtomicBool,
    pub(super) dead: AtomicBool,
    shut_down: AtomicBool,
}

impl Shared {
    pub(super) fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    pub(super) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Shared>);

impl Queue {
    pub(super) fn around(inner: MemoryQueue, defect: Defect) -> Self {
        let mut capabilities = inner.capabilities().clone();
        if defect == Defect::DeclaresTransactions {
            capabilities = capabilities.with(Capability::MessageTransactions);
        }
        Self(Arc::new(Shared {
            defect,
            inner,
            capabilities,
            notes: Mutex::default(),
            permit: Semaphore::new(1),
            sending: AtomicU32::new(0),
            backlog: AtomicI64::new(0),
            loses_next: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            shut_down: AtomicBool::new(false),
        }))
    }

    pub(super) fn restarted(&self) {
        let loses = self.0.is(Defect::LosesOneInRestart);
        self.0.loses_next.store(loses, Ordering::SeqCst);
    }

    /// Hands out nothing any more, if this is its defect.
    pub(super) fn dies_of(&self, defect: Defect) {
        self.0.dead.fetch_or(self.0.is(defect), Ordering::SeqCst);
    }
}

#[async_trait]
impl MessageQueue for Queue {
    async fn producer(&self) -> Result<Arc<dyn Producer>> {
        let inner = self.0.inner.producer().await?;
        Ok(Arc::new(BrokenProducer::around(Arc::clone(&self.0), inner)))
    }

    async fn consumer(&self, group: &str) -> Result<Arc<dyn Consumer>> {
        let group = if self.0.is(Defect::IgnoresCaseOfGroups) {
            group.to_lowercase()
        } else {
            group.to_owned()
        };
        let inner = self.0.inner.consumer(&group).await?;
        Ok(Arc::new(BrokenConsumer::around(
            Arc::clone(&self.0),
            inner,
            group.into(),
        )))
    }

    async fn admin(&self) -> Result<Arc<dyn TopicAdmin>> {
        let inner = self.0.inner.admin().await?;
        Ok(Arc::new(BrokenAdmin {
            shared: Arc::clone(&self.0),
            inner,
        }))
    }
}

#[async_trait]
impl Backend for Queue {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    async fn health(&self) -> Result<()> {
        match self.0.inner.health().await {
            Err(error) if self.0.is(Defect::AlwaysHealthy) && error.kind() == ErrorKind::Unavailable => {
                Ok(())
            }
            health => health,
        }
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        let before = self.0.shut_down.swap(true, Ordering::SeqCst);
        if before && self.0.is(Defect::RefusesSecondShutdown) {
            return self.0.inner.health().await;
        }
        let longer = if self.0.is(Defect::ShutdownIgnoresDeadline) {
            1000
        } else {
            1
        };
        self.0.inner.shutdown(deadline * longer).await
    }
}

#[derive(Debug)]
struct BrokenAdmin {
    shared: Arc<Shared>,
    inner: Arc<dyn TopicAdmin>,
}

#[async_trait]
impl TopicAdmin for BrokenAdmin {
    async fn create_topic(&self, mut topic: TopicSpec) -> Result<()> {
        if self.shared.is(Defect::OnePartitionCountForAll) {
            topic.partitions = None;
        }
        match self.inner.create_topic(topic).await {
            Err(error)
                if self.shared.is(Defect::CreatesTwice) && error.kind() == ErrorKind::AlreadyExists =>
            {
                Ok(())
            }
            created => created,
        }
    }

    async fn delete_topic(&self, topic: &str) -> Result<bool> {
        let deleted = self.inner.delete_topic(topic).await?;
        Ok(deleted || self.shared.is(Defect::DeletesTwice))
    }

    async fn list_topics(&self) -> Result<Vec<String>> {
        match self.inner.list_topics().await {
            Err(error) if self.shared.is(Defect::ListsAfterShutdown) && error.kind() == ErrorKind::Closed => {
                Ok(Vec::new())
            }
            Ok(mut topics) if self.shared.is(Defect::ListsBackwards) => {
                topics.reverse();
                Ok(topics)
            }
            topics => topics,
        }
    }

    async fn describe_topic(&self, topic: &str) -> Result<Option<TopicInfo>> {
        let mut info = self.inner.describe_topic(topic).await?;
        if let Some(info) = &mut info
            && self.shared.is(Defect::DescribesLastOffset)
        {
            for partition in &mut info.partitions {
                partition.next_offset = partition.next_offset.saturating_sub(1);
            }
        }
        Ok(info)
    }

    async fn consumer_lag(&self, group: &str, topic: &str) -> Result<Vec<ConsumerLag>> {
        let answer = self.inner.consumer_lag(group, topic).await;
        match answer {
            Err(error)
                if self.shared.is(Defect::StrangersHaveNoLag) && error.kind() == ErrorKind::NotFound =>
            {
                Ok(Vec::new())
            }
            Ok(lag) if self.shared.is(Defect::LagOfOnePartition) => Ok(lag
                .into_iter()
                .max_by_key(|partition| partition.messages)
                .into_iter()
                .collect()),
            lag => lag,
        }
    }
}

#[async_trait]
impl Backend for BrokenAdmin {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        if self.shared.is(Defect::AdministersAfterShutdown) {
            return Ok(());
        }
        self.inner.shutdown(deadline).await
    }
}
