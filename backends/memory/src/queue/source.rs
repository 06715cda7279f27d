//! A member of a consumer group, as the consumer runtime sees it.

use std::collections::HashSet;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use infra_core::queue::runtime::{
    Acknowledgement, DeliverySource, DeliveryTag, Position, Received, Revocation, Settlement, SourceTraits,
    TopicPartition, Verdict,
};
use infra_core::queue::{Message, Start};
use infra_core::{Error, Result, async_trait};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::broker::Broker;
use super::delivery::{Request, is_out, place};
use super::group::{Member, MemberId};
use super::topic::{Topic, size_of};

/// A member; dropping it leaves the group.
#[derive(Debug)]
pub(super) struct MemorySource {
    broker: Arc<Broker>,
    group: Arc<str>,
    id: MemberId,
    wake: Arc<Notify>,
    revoked: Arc<Notify>,
    lost: Arc<AtomicBool>,
    /// Empty once it has left for good. Shared with what joins again after its session was lost.
    topics: Arc<Mutex<Vec<Arc<Topic>>>>,
    paused: Mutex<HashSet<TopicPartition>>,
    /// Where the next hand-out begins, so that no topic and no partition starves.
    turn: AtomicUsize,
}

impl MemorySource {
    /// Joins the group in every topic, or in none.
    pub(super) fn join(
        broker: Arc<Broker>,
        group: Arc<str>,
        topics: &[String],
        start: Start,
    ) -> Result<Arc<Self>> {
        let id = broker.next_member();
        let source = Arc::new(Self {
            broker,
            group,
            id,
            wake: Arc::default(),
            revoked: Arc::default(),
            lost: Arc::default(),
            topics: Arc::default(),
            paused: Mutex::default(),
            turn: AtomicUsize::new(0),
        });
        let found: Result<Vec<_>> = topics
            .iter()
            .map(|name| source.broker.topic_for_use(name))
            .collect();
        let found = found?;
        // A group claims messages from the moment it is there, so that none may be made for a subscription that is refused.
        for topic in &found {
            topic.check_group(&source.group)?;
        }
        for topic in found {
            // An error drops the source, which leaves the topics that it has joined.
            source.join_topic(&topic, start)?;
            source.lock_topics().push(topic);
        }
        Ok(source)
    }

    fn join_topic(&self, topic: &Topic, start: Start) -> Result<()> {
        topic.join(&self.group, start, self.member())
    }

    fn member(&self) -> Member {
        Member {
            id: self.id,
            wake: self.wake.clone(),
            revoked: self.revoked.clone(),
            lost: self.lost.clone(),
        }
    }

    /// Takes note that everything was taken away without asking; it joins again when nothing of it is left here.
    fn lost_session(&self) -> Revocation {
        let partitions = self
            .lock_topics()
            .iter()
            .flat_map(|topic| {
                topic
                    .partitions()
                    .map(|number| TopicPartition::new(topic.name.clone(), number))
            })
            .collect();
        let (topics, group, member) = (Arc::clone(&self.topics), self.group.clone(), self.member());
        let deadline = Instant::now() + self.broker.config.rebalance_timeout;
        Revocation::new(partitions, deadline, move || {
            for topic in topics.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                // One that was deleted meanwhile is followed like any other.
                let _ = topic.join(&group, Start::Earliest, member.clone());
            }
        })
    }

    fn lock_topics(&self) -> MutexGuard<'_, Vec<Arc<Topic>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_paused(&self) -> MutexGuard<'_, HashSet<TopicPartition>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins topics again that were deleted and created anew; whatever is in them is new to the group.
    fn follow_topics(&self) {
        for topic in self.lock_topics().iter_mut() {
            if !topic.lock().deleted {
                continue;
            }
            if let Some(anew) = self.broker.find(&topic.name)
                && self.join_topic(&anew, Start::Earliest).is_ok()
            {
                *topic = anew;
            }
        }
    }

    /// Messages that can be handed out now, and when to look again.
    fn hand_out(&self, max: NonZeroUsize) -> (Vec<Received>, Option<Instant>) {
        let mut received = Vec::new();
        let mut next_due = None;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let paused = self.lock_paused();
        let topics = self.lock_topics();
        let budget = self.broker.duplicates.load(Ordering::Relaxed);
        let mut duplicates = budget;
        for step in 0..topics.len() {
            let topic = &topics[(turn + step) % topics.len()];
            let request = Request {
                group: &self.group,
                member: self.id,
                max: max.get(),
                begin: turn,
                now: Instant::now(),
                counts_attempts: self.traits().acknowledgement == Acknowledgement::Each,
                duplicates: &mut duplicates,
            };
            let is_paused = |partition| {
                !paused.is_empty() && paused.contains(&TopicPartition::new(topic.name.clone(), partition))
            };
            let due = topic.hand_out(request, is_paused, &mut received);
            next_due = next_due.into_iter().chain(due).min();
        }
        if duplicates < budget {
            self.broker
                .duplicates
                .fetch_sub(budget - duplicates, Ordering::Relaxed);
        }
        self.reorder(&mut received);
        (received, next_due)
    }

    /// Swaps pairs, as many as were asked for.
    fn reorder(&self, received: &mut [Received]) {
        for pair in received.chunks_exact_mut(2) {
            let asked = |pairs: usize| pairs.checked_sub(1);
            let taken = self
                .broker
                .reorders
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, asked);
            if taken.is_err() {
                return;
            }
            pair.swap(0, 1);
        }
    }

    fn find_topic(&self, id: u32) -> Option<Arc<Topic>> {
        self.lock_topics().iter().find(|topic| topic.id == id).cloned()
    }

    fn announced(&self) -> Vec<(Arc<Topic>, u32)> {
        let mut announced = Vec::new();
        for topic in self.lock_topics().iter() {
            let mut state = topic.lock();
            let Some(group) = state.groups.get_mut(&self.group) else {
                continue;
            };
            for (number, progress) in (0..).zip(&mut group.partitions) {
                if progress.owner == Some(self.id) && std::mem::take(&mut progress.to_announce) {
                    announced.push((topic.clone(), number));
                }
            }
        }
        announced
    }

    fn settle_each(&self, mut rest: &[(DeliveryTag, Verdict)]) {
        while let Some((first, _)) = rest.first() {
            // Verdicts come in runs of one topic, which share one turn of its lock.
            let (id, ..) = place(*first);
            let run = rest.iter().take_while(|(tag, _)| place(*tag).0 == id).count();
            let (these, others) = rest.split_at(run);
            rest = others;
            let Some(topic) = self.find_topic(id) else {
                continue;
            };
            let mut state = topic.lock();
            for (tag, verdict) in these {
                let (_, partition, offset) = place(*tag);
                topic.settle(&mut state, &self.group, self.id, (partition, offset), *verdict);
            }
        }
    }

    /// Settles everything that this member has before each position.
    fn settle_log(&self, positions: &[Position]) {
        for position in positions {
            let named = |topic: &&Arc<Topic>| topic.name == position.partition.topic;
            let Some(topic) = self.lock_topics().iter().find(named).cloned() else {
                continue;
            };
            let partition = position.partition.partition;
            let mut state = topic.lock();
            let group = state.groups.get(&self.group);
            let Some(progress) = group.and_then(|group| group.partitions.get(partition as usize)) else {
                continue;
            };
            let done: Vec<u64> = progress
                .unsettled
                .range(..position.next_offset)
                .map(|(offset, _)| *offset)
                .collect();
            for offset in done {
                topic.settle(
                    &mut state,
                    &self.group,
                    self.id,
                    (partition, offset),
                    Verdict::Done,
                );
            }
        }
    }

    fn leave(&self) {
        for topic in std::mem::take(&mut *self.lock_topics()) {
            topic.leave(&self.group, self.id);
        }
        self.broker.note_progress();
    }
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        self.leave();
    }
}

#[async_trait]
impl DeliverySource for MemorySource {
    fn traits(&self) -> SourceTraits {
        self.broker.config.settlement
    }

    async fn receive(&self, max: NonZeroUsize) -> Result<Vec<Received>> {
        let mut status = None;
        loop {
            self.broker.check_member()?;
            let (received, next_due) = self.hand_out(max);
            if !received.is_empty() {
                return Ok(received);
            }
            let Some(status) = &mut status else {
                // Look once more after subscribing, so that no change of status falls between.
                status = Some(self.broker.status.subscribe());
                self.follow_topics();
                continue;
            };
            tokio::select! {
                () = self.wake.notified() => {}
                _ = status.changed() => self.follow_topics(),
                () = sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {}
            }
        }
    }

    async fn revocation(&self) -> Revocation {
        loop {
            if self.lost.swap(false, Ordering::AcqRel) {
                return self.lost_session();
            }
            let announced = self.announced();
            if !announced.is_empty() {
                let partitions = announced
                    .iter()
                    .map(|(topic, number)| TopicPartition::new(topic.name.clone(), *number))
                    .collect();
                let (group, id) = (self.group.clone(), self.id);
                let deadline = Instant::now() + self.broker.config.rebalance_timeout;
                return Revocation::new(partitions, deadline, move || {
                    for (topic, number) in announced {
                        if let Some(group) = topic.lock().groups.get_mut(&group) {
                            group.let_go(number as usize, id);
                        }
                    }
                });
            }
            self.revoked.notified().await;
        }
    }

    async fn settle(&self, settlement: Settlement<'_>) -> Result<()> {
        self.broker.check_member()?;
        match settlement {
            Settlement::Each(verdicts) => self.settle_each(verdicts),
            Settlement::Log(positions) => self.settle_log(positions),
            _ => return Err(Error::unsupported("this kind of settlement")),
        }
        self.broker.note_progress();
        Ok(())
    }

    /// Stores the letter and settles the message in one step: a member that dies leaves both or neither behind.
    async fn dead_letter(&self, origin: DeliveryTag, letter: Message) -> Result<()> {
        self.broker.check_member()?;
        let (id, partition, offset) = place(origin);
        let Some(topic) = self.find_topic(id) else {
            return Ok(());
        };
        let size = size_of(&letter);
        let letters = self.broker.topic_or_create(&letter.topic)?;
        if letters.id == topic.id {
            return Err(Error::invalid_argument(format!(
                "topic {:?} cannot be its own dead-letter topic",
                topic.name
            )));
        }
        self.broker
            .make_room(&letters, size, Broker::check_member)
            .await?;
        // Locks are taken from a topic to its dead-letter topic, whose name is longer: there is no circle.
        let mut state = topic.lock();
        let ours = state
            .groups
            .get(&self.group)
            .and_then(|group| group.partitions.get(partition as usize))
            .is_some_and(|progress| is_out(progress, self.id, offset));
        let mut stored = letters.lock();
        if !ours || stored.deleted {
            let gone = stored.deleted;
            drop(stored);
            letters.release(1, size);
            // Whoever has the message now decides about it; a topic that was deleted is created by the next attempt.
            return if ours && gone {
                Err(super::topic::not_found(&letters.name))
            } else {
                Ok(())
            };
        }
        letters.append(&mut stored, letter, size);
        drop(stored);
        topic.settle(
            &mut state,
            &self.group,
            self.id,
            (partition, offset),
            Verdict::Done,
        );
        drop(state);
        self.broker.note_progress();
        Ok(())
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        self.lock_paused().extend(partitions.iter().cloned());
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        let mut paused = self.lock_paused();
        for partition in partitions {
            paused.remove(partition);
        }
        drop(paused);
        self.wake.notify_one();
    }

    fn set_window(&self, _: NonZeroU32) {}

    async fn close(&self) -> Result<()> {
        self.leave();
        Ok(())
    }
}
