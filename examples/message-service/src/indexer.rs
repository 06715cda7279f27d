//! The consumer: takes announced messages into the search index and the timelines. Knows traits only.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::async_trait;
use infra_core::error::Result;
use infra_core::queue::{BatchHandler, Consumer, Delivery, Disposition, Subscription, SubscriptionHandle};
use infra_core::search::{Search, SearchExt as _};

use crate::model::{ChatMessage, INDEX, TOPIC};
use crate::store::MessageStore;
use crate::timeline::Timeline;

/// The consumer group.
pub const GROUP: &str = "message-indexer";
/// The most messages that are taken in together.
const BATCH: NonZeroU32 = NonZeroU32::new(256).unwrap();
/// The most messages that are being taken in or wait their turn.
pub(crate) const IN_FLIGHT: NonZeroU32 = NonZeroU32::new(1024).unwrap();
/// How long a batch waits to fill.
const PATIENCE: Duration = Duration::from_millis(5);
/// The pause before a message that could not be taken in is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes messages in.
#[derive(Debug)]
pub struct Indexer {
    search: Arc<dyn Search>,
    timeline: Timeline,
    store: MessageStore,
    log: Option<Arc<DeliveryLog>>,
}

/// Which messages were taken in since the start, for whoever checks that none is missing.
#[derive(Debug, Default)]
pub struct DeliveryLog(Mutex<HashSet<i64>>);

impl DeliveryLog {
    /// The ids, each once however often it was delivered.
    #[must_use]
    pub fn ids(&self) -> HashSet<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, messages: &[ChatMessage]) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(messages.iter().map(|message| message.id));
    }
}

impl Indexer {
    /// An indexer that was not started.
    #[must_use]
    pub fn new(search: Arc<dyn Search>, timeline: Timeline, store: MessageStore) -> Self {
        Self {
            search,
            timeline,
            store,
            log: None,
        }
    }

    /// The same indexer, which notes what it takes in.
    #[must_use]
    pub fn with_log(mut self, log: Arc<DeliveryLog>) -> Self {
        self.log = Some(log);
        self
    }

    /// Creates the index if it is not there, and starts to take messages in.
    ///
    /// # Errors
    /// The index's or the queue's.
    pub async fn start(self, consumer: &dyn Consumer) -> Result<SubscriptionHandle> {
        self.search.create_index(INDEX, ChatMessage::schema()).await?;
        let subscription = Subscription::to([TOPIC]).with_max_in_flight(IN_FLIGHT);
        consumer
            .subscribe_batch(subscription, BATCH, PATIENCE, Arc::new(self))
            .await
    }

    /// Takes messages in: index first, then timelines, then the outbox forgets them. Every step may be repeated.
    async fn take_in(&self, messages: &[ChatMessage]) -> Result<Vec<Result<()>>> {
        let outcomes = self.search.bulk_index(INDEX, messages).await?;
        let results: Vec<_> = outcomes
            .into_iter()
            .map(|outcome| outcome.result.map(drop))
            .collect();
        let mut sessions = BTreeMap::<&str, Vec<ChatMessage>>::new();
        for (message, _) in messages.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
            sessions
                .entry(&message.session_id)
                .or_default()
                .push(message.clone());
        }
        for (session, messages) in sessions {
            self.timeline.append(session, &messages).await?;
            let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
            self.store.settle(session, &ids).await?;
            if let Some(log) = &self.log {
                log.add(&messages);
            }
        }
        Ok(results)
    }
}

#[async_trait]
impl BatchHandler for Indexer {
    async fn handle_batch(&self, deliveries: &[Delivery]) -> Result<Vec<Disposition>> {
        let decoded: Vec<_> = deliveries
            .iter()
            .map(|delivery| delivery.message.decode::<ChatMessage>())
            .collect();
        let messages: Vec<_> = decoded
            .iter()
            .filter_map(|message| message.as_ref().ok().cloned())
            .collect();
        let mut results = self.take_in(&messages).await?.into_iter();
        let dispositions = decoded.iter().map(|message| match message {
            Err(error) => Disposition::DeadLetter {
                reason: error.to_string(),
            },
            Ok(message) => match results.next() {
                Some(Ok(())) => Disposition::Ack,
                Some(Err(error)) if !error.is_retryable() => Disposition::DeadLetter {
                    reason: format!("message {} cannot be indexed: {error}", message.id),
                },
                Some(Err(_)) | None => Disposition::Retry { after: PAUSE },
            },
        });
        Ok(dispositions.collect())
    }
}
