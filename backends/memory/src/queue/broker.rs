//! The shared state that plays the broker: topics by name, whether it is reachable, and its end.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use infra_core::capability::{Capabilities, Capability};
use infra_core::queue::runtime::Subscriptions;
use infra_core::queue::{Message, Receipt, TopicSpec};
use infra_core::telemetry::Meter;
use infra_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::config::{MemoryQueueConfig, Overflow};
use super::group::{Member, MemberId};
use super::topic::{Backlog, Topic, not_found, size_of};

/// The most partitions of a topic.
const MAX_PARTITIONS: u32 = 10_000;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Nothing is taken in any more; members work on what is there.
    Closing,
    Closed,
}

/// What everybody has to hear of at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Status {
    pub(super) phase: Phase,
    pub(super) connected: bool,
    /// Counts created topics.
    pub(super) created: u64,
}

/// The broker.
#[derive(Debug)]
pub(super) struct Broker {
    pub(super) config: MemoryQueueConfig,
    pub(super) capabilities: Capabilities,
    pub(super) meter: Arc<dyn Meter>,
    pub(super) status: watch::Sender<Status>,
    pub(super) subscriptions: Subscriptions,
    /// Told when messages are settled while the queue closes.
    pub(super) progress: Notify,
    /// Deliveries that are to be repeated, for tests.
    pub(super) duplicates: AtomicUsize,
    /// Pairs of deliveries that are to swap, for tests.
    pub(super) reorders: AtomicUsize,
    topics: RwLock<HashMap<Arc<str>, Arc<Topic>>>,
    next_member: AtomicU64,
    next_topic: AtomicU32,
}

impl Broker {
    pub(super) fn new(config: MemoryQueueConfig, meter: Arc<dyn Meter>) -> Self {
        let mut capabilities = Capabilities::new(config.limits)
            .with(Capability::PerKeyOrder)
            .with(Capability::DelayedDelivery);
        if config.replay_messages > 0 {
            capabilities = capabilities.with(Capability::Replay);
        }
        let (status, _) = watch::channel(Status {
            phase: Phase::Open,
            connected: true,
            created: 0,
        });
        Self {
            config,
            capabilities,
            meter,
            status,
            subscriptions: Subscriptions::new(),
            progress: Notify::new(),
            duplicates: AtomicUsize::new(0),
            reorders: AtomicUsize::new(0),
            topics: RwLock::default(),
            next_member: AtomicU64::new(1),
            next_topic: AtomicU32::new(1),
        }
    }

    pub(super) fn next_member(&self) -> u64 {
        self.next_member.fetch_add(1, Ordering::Relaxed)
    }

    /// Refuses calls from outside once the queue is being shut down, and while the broker cannot be reached.
    pub(super) fn check(&self) -> Result<()> {
        let status = *self.status.borrow();
        if status.phase != Phase::Open {
            return Err(Error::closed("the queue"));
        }
        reachable(status)
    }

    /// Refuses calls of members once the queue is closed, and while the broker cannot be reached.
    pub(super) fn check_member(&self) -> Result<()> {
        let status = *self.status.borrow();
        if status.phase == Phase::Closed {
            return Err(Error::closed("the queue"));
        }
        reachable(status)
    }

    /// A topic that exists.
    pub(super) fn find(&self, name: &str) -> Option<Arc<Topic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).cloned()
    }

    /// A topic, created now if it does not exist and may be created on use.
    pub(super) fn topic_for_use(&self, name: &str) -> Result<Arc<Topic>> {
        match self.find(name) {
            Some(topic) => Ok(topic),
            None if self.config.auto_create => self.topic_or_create(name),
            None => Err(not_found(name)),
        }
    }

    /// A topic, created now if it does not exist.
    pub(super) fn topic_or_create(&self, name: &str) -> Result<Arc<Topic>> {
        match self.create(&TopicSpec::new(name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Somebody was faster; nobody can have deleted it and still expect this call to find it.
                self.find(name).ok_or_else(|| not_found(name))
            }
            created => created,
        }
    }

    pub(super) fn create(&self, spec: &TopicSpec) -> Result<Arc<Topic>> {
        let partitions = spec.partitions.unwrap_or(self.config.partitions);
        check_spec(spec, partitions)?;
        let topic = {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            if topics.contains_key(spec.name.as_str()) {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("topic {:?} exists already", spec.name),
                )
                .without_effect());
            }
            if topics.len() >= self.config.max_topics {
                return Err(Error::new(
                    ErrorKind::ResourceExhausted,
                    format!(
                        "the queue has {} topics, which is all that the configuration allows; raise max_topics",
                        topics.len()
                    ),
                )
                .without_effect());
            }
            let topic = Arc::new(Topic::new(
                &spec.name,
                self.next_topic.fetch_add(1, Ordering::Relaxed),
                &self.config,
                partitions,
                spec.retention.unwrap_or(self.config.retention),
            ));
            topics.insert(topic.name.clone(), topic.clone());
            topic
        };
        // Members whose topic was deleted are waiting for this.
        self.status.send_modify(|status| status.created += 1);
        Ok(topic)
    }

    pub(super) fn delete(&self, name: &str) -> bool {
        let removed = {
            let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
            topics.remove(name)
        };
        if let Some(topic) = &removed {
            topic.delete();
        }
        removed.is_some()
    }

    pub(super) fn topic_names(&self) -> Vec<String> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = topics.keys().map(|name| name.to_string()).collect();
        names.sort_unstable();
        names
    }

    /// Puts every member out of its groups, and then tells it; how many there were.
    pub(super) fn lose_sessions(&self) -> usize {
        let topics: Vec<_> = {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            topics.values().cloned().collect()
        };
        let members: HashMap<MemberId, Member> = topics
            .iter()
            .flat_map(|topic| topic.expel_all())
            .map(|member| (member.id, member))
            .collect();
        // Not before it is out everywhere, so that it lets go of everything at once.
        for member in members.values() {
            member.lost.store(true, Ordering::Release);
            member.revoked.notify_one();
        }
        members.len()
    }

    /// Takes in a message that was prepared; waits for room or refuses, as configured.
    ///
    /// Nothing is awaited after there is room, so that a message is in the log exactly if this returns `Ok`.
    pub(super) async fn accept(&self, message: Message) -> Result<Receipt> {
        let topic = self.topic_for_use(&message.topic)?;
        let size = size_of(&message);
        self.make_room(&topic, size, Broker::check).await?;
        let mut state = topic.lock();
        // Seen under the lock, so that a shutdown that has looked at this topic has seen every message in it.
        let refused = if state.deleted {
            Err(not_found(&topic.name))
        } else {
            self.check()
        };
        if let Err(error) = refused {
            drop(state);
            topic.release(1, size);
            return Err(error);
        }
        Ok(topic.append(&mut state, message, size))
    }

    /// Takes room for one message of this size out of the topic's capacity.
    pub(super) async fn make_room(
        &self,
        topic: &Topic,
        size: usize,
        check: impl Fn(&Self) -> Result<()>,
    ) -> Result<()> {
        check(self)?;
        let bytes = u32::try_from(size).map_err(|_| {
            Error::invalid_argument(format!(
                "a message of {size} bytes is larger than any topic; split it"
            ))
        })?;
        if let Ok(message) = topic.messages.try_acquire()
            && let Ok(room) = topic.bytes.try_acquire_many(bytes)
        {
            room.forget();
            message.forget();
            return Ok(());
        }
        if self.config.overflow == Overflow::Refuse {
            topic.expire(&mut topic.lock(), Instant::now());
            return match (topic.messages.try_acquire(), topic.bytes.try_acquire_many(bytes)) {
                (Ok(message), Ok(room)) => {
                    room.forget();
                    message.forget();
                    Ok(())
                }
                _ if topic.messages.is_closed() => Err(not_found(&topic.name)),
                _ => Err(full(&topic.name)),
            };
        }
        self.wait_for_room(topic, bytes, check).await
    }

    async fn wait_for_room(
        &self,
        topic: &Topic,
        bytes: u32,
        check: impl Fn(&Self) -> Result<()>,
    ) -> Result<()> {
        let room = async {
            let message = topic.messages.acquire().await;
            let bytes = topic.bytes.acquire_many(bytes).await;
            match (message, bytes) {
                (Ok(message), Ok(bytes)) => {
                    bytes.forget();
                    message.forget();
                    Ok(())
                }
                _ => Err(not_found(&topic.name)),
            }
        };
        tokio::pin!(room);
        let mut status = self.status.subscribe();
        loop {
            check(self)?;
            let expiry = topic.next_expiry();
            tokio::select! {
                biased;
                room = &mut room => return room,
                _ = status.changed() => {}
                () = sleep_until(expiry.unwrap_or_else(Instant::now)), if expiry.is_some() => {
                    topic.expire(&mut topic.lock(), Instant::now());
                }
            }
        }
    }

    /// What members have left to do.
    pub(super) fn backlog(&self, horizon: Instant) -> Backlog {
        let topics: Vec<_> = {
            let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
            topics.values().cloned().collect()
        };
        topics
            .iter()
            .map(|topic| topic.backlog(horizon))
            .fold(Backlog::default(), |sum, each| Backlog {
                due: sum.due + each.due,
                later: sum.later + each.later,
            })
    }

    /// Tells a shutdown that something was settled.
    pub(super) fn note_progress(&self) {
        if self.status.borrow().phase == Phase::Closing {
            self.progress.notify_waiters();
        }
    }

    /// Stops taking messages in, lets members finish what there is, and ends them.
    pub(super) async fn shutdown(&self, deadline: Duration) -> Result<()> {
        if self.status.borrow().phase == Phase::Closed {
            return Ok(());
        }
        self.status.send_modify(|status| {
            if status.phase == Phase::Open {
                status.phase = Phase::Closing;
            }
        });
        let now = Instant::now();
        let by = now.checked_add(deadline).unwrap_or(now + FAR);
        let left = self.finish_backlog(by).await;
        let drained = self
            .subscriptions
            .drain_all(by.saturating_duration_since(Instant::now()))
            .await;
        self.status.send_modify(|status| status.phase = Phase::Closed);
        drained?;
        if left.due + left.later == 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "after {deadline:?}, {} accepted messages were not handled and {} delayed ones were not due; they end with \
                 this process",
                left.due, left.later
            ),
        ))
    }

    async fn finish_backlog(&self, by: Instant) -> Backlog {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            let left = self.backlog(by);
            if left.due == 0 {
                return left;
            }
            tokio::select! {
                () = progress => {}
                () = sleep_until(by) => return self.backlog(by),
            }
        }
    }
}

/// A deadline that does not fit the clock is as good as a year.
const FAR: Duration = Duration::from_secs(366 * 24 * 3600);

fn reachable(status: Status) -> Result<()> {
    if status.connected {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "the in-process broker was disconnected; connect it again and repeat",
    )
    .without_effect())
}

fn full(topic: &str) -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "topic {topic:?} is full of messages that are not settled; send more slowly or add consumers"
        ),
    )
    .without_effect()
}

fn check_spec(spec: &TopicSpec, partitions: NonZeroU32) -> Result<()> {
    if partitions.get() > MAX_PARTITIONS {
        return Err(Error::invalid_argument(format!(
            "topic {:?} asks for {partitions} partitions, more than the {MAX_PARTITIONS} allowed",
            spec.name
        )));
    }
    if spec.replicas.is_some_and(|replicas| replicas.get() > 1) {
        return Err(Error::unsupported("replicas"));
    }
    if spec.retention.is_some_and(|retention| retention.is_zero()) {
        return Err(Error::invalid_argument(format!(
            "topic {:?} asks for a retention of zero; give it some time",
            spec.name
        )));
    }
    Ok(())
}
