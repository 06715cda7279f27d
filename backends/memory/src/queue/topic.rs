//! A topic: its partitions, its groups, its bounds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::queue::{ConsumerLag, Message, PartitionInfo, Receipt, Start, TopicInfo, partition_of};
use infra_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::config::MemoryQueueConfig;
use super::group::{Group, Member, MemberId, Progress};
use super::log::{Entry, PartitionLog};

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: Arc<str>,
    /// Tells topics of one name apart, when one was deleted and created again.
    pub(super) id: u32,
    partitions: NonZeroU32,
    pub(super) retention: Duration,
    replay_messages: usize,
    replay_bytes: usize,
    max_groups: usize,
    /// Room for pending messages, and for their bytes; whoever waits for it is served in order.
    pub(super) messages: Semaphore,
    pub(super) bytes: Semaphore,
    state: Mutex<State>,
}

/// What the lock of a topic guards.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) logs: Vec<PartitionLog>,
    pub(super) groups: HashMap<Arc<str>, Group>,
    /// Messages that are not delivered yet on purpose, by when they are due.
    delayed: BTreeMap<(Instant, u64), Delayed>,
    accepted: u64,
    /// Settled messages that are kept for groups that are created late, by when they were settled.
    kept: VecDeque<(usize, u64)>,
    kept_bytes: usize,
    pub(super) deleted: bool,
}

#[derive(Debug)]
struct Delayed {
    message: Message,
    partition: usize,
    size: usize,
}

/// What a message counts against the capacity in bytes; at least one, so that everything counts.
pub(super) fn size_of(message: &Message) -> usize {
    let headers: usize = message
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let key = message.key.as_ref().map_or(0, |key| key.len());
    (key + message.payload.len() + headers).max(1)
}

impl Topic {
    pub(super) fn new(
        name: &str,
        id: u32,
        config: &MemoryQueueConfig,
        partitions: NonZeroU32,
        retention: Duration,
    ) -> Self {
        let logs = (0..partitions.get()).map(|_| PartitionLog::default()).collect();
        Self {
            name: name.into(),
            id,
            partitions,
            retention,
            replay_messages: config.replay_messages,
            replay_bytes: config.capacity_bytes,
            max_groups: config.max_groups,
            messages: Semaphore::new(config.capacity_messages),
            bytes: Semaphore::new(config.capacity_bytes),
            state: Mutex::new(State {
                logs,
                ..State::default()
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives room back.
    pub(super) fn release(&self, messages: usize, bytes: usize) {
        self.bytes.add_permits(bytes);
        self.messages.add_permits(messages);
    }

    /// Takes in a message for which there is room.
    pub(super) fn append(&self, state: &mut State, message: Message, size: usize) -> Receipt {
        let now = Instant::now();
        self.expire(state, now);
        state.accepted += 1;
        let partition = match &message.key {
            Some(key) => partition_of(key, self.partitions),
            None => (state.accepted % u64::from(self.partitions.get())) as u32,
        };
        let place = partition as usize;
        let due = message
            .delay
            .filter(|delay| !delay.is_zero())
            .and_then(|delay| now.checked_add(delay));
        let Some(due) = due else {
            let offset = store(state, place, message, size, now);
            return Receipt::new(&*self.name, Some(partition), Some(offset));
        };
        let delayed = Delayed {
            message,
            partition: place,
            size,
        };
        state.delayed.insert((due, state.accepted), delayed);
        for member in state.groups.values().flat_map(|group| &group.members) {
            member.wake.notify_one();
        }
        Receipt::new(&*self.name, Some(partition), None)
    }

    /// Drops what no group has asked for within the retention time.
    pub(super) fn expire(&self, state: &mut State, now: Instant) {
        if !state.groups.is_empty() {
            return;
        }
        let mut dropped = 0_u64;
        let mut bytes = 0;
        for log in &mut state.logs {
            while let Some((offset, entry)) = log.front()
                && now.saturating_duration_since(entry.stored_at) >= self.retention
            {
                bytes += entry.size;
                dropped += 1;
                log.remove(offset);
            }
        }
        if dropped > 0 {
            self.release(usize::try_from(dropped).unwrap_or(usize::MAX), bytes);
            tracing::warn!(topic = %self.name, dropped, retention = ?self.retention,
                "messages that no group had asked for were dropped after the retention time");
        }
    }

    /// When the oldest message is dropped, if no group asks for it before.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let state = self.lock();
        if !state.groups.is_empty() {
            return None;
        }
        let oldest = state
            .logs
            .iter()
            .filter_map(|log| Some(log.front()?.1.stored_at))
            .min()?;
        oldest.checked_add(self.retention)
    }

    /// Moves delayed messages whose time has come into their partitions; when the next one is due.
    pub(super) fn advance(&self, state: &mut State, now: Instant) -> Option<Instant> {
        while let Some(entry) = state.delayed.first_entry() {
            if entry.key().0 > now {
                return Some(entry.key().0);
            }
            let delayed = entry.remove();
            store(state, delayed.partition, delayed.message, delayed.size, now);
        }
        None
    }

    /// Refuses a group for which the topic has no room.
    pub(super) fn check_group(&self, group: &str) -> Result<()> {
        self.check_room_for(&self.lock(), group)
    }

    fn check_room_for(&self, state: &State, group: &str) -> Result<()> {
        if state.deleted {
            return Err(not_found(&self.name));
        }
        if state.groups.contains_key(group) || state.groups.len() < self.max_groups {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ResourceExhausted,
            format!(
                "topic {:?} has {} groups, which is all that the configuration allows; raise max_groups",
                self.name, self.max_groups
            ),
        )
        .without_effect())
    }

    /// Makes a member of a group, which begins at `start` if it is new.
    pub(super) fn join(&self, group: &Arc<str>, start: Start, member: Member) -> Result<()> {
        let mut state = self.lock();
        self.check_room_for(&state, group)?;
        if !state.groups.contains_key(group) {
            self.expire(&mut state, Instant::now());
            let new = self.new_group(&mut state, start);
            state.groups.insert(group.clone(), new);
        }
        if let Some(group) = state.groups.get_mut(group) {
            group.join(member);
        }
        Ok(())
    }

    /// A group that claims what is there, or nothing of it.
    fn new_group(&self, state: &mut State, start: Start) -> Group {
        let mut partitions = Vec::with_capacity(state.logs.len());
        for log in &mut state.logs {
            let mut progress = Progress::default();
            if start == Start::Latest {
                progress.next = log.next_offset();
            } else {
                progress.next = log.first_offset();
                for (_, entry) in log.iter_mut() {
                    entry.claims += 1;
                    progress.pending += 1;
                }
            }
            partitions.push(progress);
        }
        if start == Start::Latest {
            self.abandon_unclaimed(state);
        } else {
            // Every message that was kept for a group like this one is claimed now.
            state.kept.clear();
            state.kept_bytes = 0;
        }
        Group {
            members: Vec::new(),
            partitions,
        }
    }

    /// The first group does not want what is there: it counts as settled.
    fn abandon_unclaimed(&self, state: &mut State) {
        if !state.groups.is_empty() {
            return;
        }
        let unclaimed: Vec<(usize, u64)> = state
            .logs
            .iter_mut()
            .enumerate()
            .flat_map(|(place, log)| log.iter_mut().map(move |(offset, _)| (place, offset)))
            .collect();
        for (place, offset) in unclaimed {
            self.reclaim(state, place, offset);
        }
    }

    /// A group has settled a message; the last one frees its room.
    pub(super) fn settled(&self, state: &mut State, place: usize, offset: u64) {
        let Some(entry) = state.logs.get_mut(place).and_then(|log| log.get_mut(offset)) else {
            return;
        };
        entry.claims = entry.claims.saturating_sub(1);
        if entry.claims == 0 {
            self.reclaim(state, place, offset);
        }
    }

    fn reclaim(&self, state: &mut State, place: usize, offset: u64) {
        let Some(entry) = state.logs.get_mut(place).and_then(|log| log.get_mut(offset)) else {
            return;
        };
        let size = entry.size;
        if std::mem::take(&mut entry.counted) {
            self.release(1, size);
        }
        state.kept.push_back((place, offset));
        state.kept_bytes += size;
        while state.kept.len() > self.replay_messages || state.kept_bytes > self.replay_bytes {
            let Some((place, offset)) = state.kept.pop_front() else {
                break;
            };
            let removed = state.logs.get_mut(place).and_then(|log| log.remove(offset));
            state.kept_bytes -= removed.map_or(0, |entry| entry.size);
        }
    }

    /// Removes a member from its group, which keeps its position.
    pub(super) fn leave(&self, group: &str, id: MemberId) {
        if let Some(group) = self.lock().groups.get_mut(group) {
            group.leave(id);
        }
    }

    /// The numbers of its partitions.
    pub(super) fn partitions(&self) -> std::ops::Range<u32> {
        0..self.partitions.get()
    }

    /// Takes all partitions from all members, and gives them to nobody.
    pub(super) fn expel_all(&self) -> Vec<Member> {
        let mut state = self.lock();
        state.groups.values_mut().flat_map(Group::expel_all).collect()
    }

    /// Ends the topic: whoever waits for room or for messages is told.
    pub(super) fn delete(&self) {
        let mut state = self.lock();
        state.deleted = true;
        self.messages.close();
        self.bytes.close();
        for member in state.groups.values().flat_map(|group| &group.members) {
            member.wake.notify_one();
        }
    }

    pub(super) fn describe(&self) -> TopicInfo {
        let mut state = self.lock();
        let now = Instant::now();
        self.advance(&mut state, now);
        self.expire(&mut state, now);
        let partitions = (0..)
            .zip(&state.logs)
            .map(|(number, log)| PartitionInfo::new(number, log.first_offset(), log.next_offset()))
            .collect();
        TopicInfo::new(&*self.name, partitions)
    }

    /// How far a group is behind; `None` for an unknown group.
    pub(super) fn lag(&self, group: &str) -> Option<Vec<ConsumerLag>> {
        let mut state = self.lock();
        self.advance(&mut state, Instant::now());
        let group = state.groups.get(group)?;
        Some(
            (0..)
                .zip(&group.partitions)
                .map(|(number, progress)| ConsumerLag::new(number, progress.pending))
                .collect(),
        )
    }

    /// Messages that groups with members have not settled, and delayed ones that are due until `horizon` or after it.
    pub(super) fn backlog(&self, horizon: Instant) -> Backlog {
        let state = self.lock();
        let live: Vec<&Group> = state.groups.values().filter(|group| group.is_live()).collect();
        let delayed = |wanted: bool| {
            let chosen = state
                .delayed
                .keys()
                .filter(|(due, _)| (*due <= horizon) == wanted);
            if live.is_empty() { 0 } else { chosen.count() as u64 }
        };
        let pending: u64 = live
            .iter()
            .flat_map(|group| &group.partitions)
            .map(|progress| progress.pending)
            .sum();
        Backlog {
            due: pending + delayed(true),
            later: delayed(false),
        }
    }
}

/// What is left to do before a shutdown.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backlog {
    /// Messages that members can handle in time.
    pub(super) due: u64,
    /// Messages whose time has not come by then.
    pub(super) later: u64,
}

pub(super) fn not_found(topic: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("topic {topic:?} does not exist; create it first, or configure the queue to create topics on first use"),
    )
    .without_effect()
}

fn store(state: &mut State, place: usize, mut message: Message, size: usize, now: Instant) -> u64 {
    message.delay = None;
    let claims = u32::try_from(state.groups.len()).unwrap_or(u32::MAX);
    let entry = Entry {
        message,
        size,
        claims,
        counted: true,
        stored_at: now,
    };
    let Some(log) = state.logs.get_mut(place) else {
        return 0;
    };
    let offset = log.push(entry);
    for group in state.groups.values_mut() {
        if let Some(progress) = group.partitions.get_mut(place) {
            progress.pending += 1;
        }
        group.wake_owner(place);
    }
    offset
}
