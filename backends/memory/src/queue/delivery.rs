//! Handing messages of a topic to a member, and taking its verdicts.

use std::num::NonZeroU32;
use std::sync::Arc;

use infra_core::queue::Delivery;
use infra_core::queue::runtime::{DeliveryTag, Received, Verdict};
use tokio::time::Instant;

use super::group::{MemberId, Progress, Unsettled, Whereabouts};
use super::log::PartitionLog;
use super::topic::{State, Topic};

/// Who asks for messages, and how many it takes.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) group: &'a Arc<str>,
    pub(super) member: MemberId,
    pub(super) max: usize,
    /// The partition to begin with, so that none starves.
    pub(super) begin: usize,
    pub(super) now: Instant,
    /// Whether the broker counts attempts.
    pub(super) counts_attempts: bool,
    /// Deliveries that are to be repeated although they get settled; counted down.
    pub(super) duplicates: &'a mut usize,
}

/// Packs where a message is into the tag by which the runtime gives it back.
pub(super) fn tag(topic: u32, partition: u32, offset: u64) -> DeliveryTag {
    DeliveryTag(u128::from(topic) << 96 | u128::from(partition) << 64 | u128::from(offset))
}

/// Topic, partition and offset of a tag.
pub(super) fn place(tag: DeliveryTag) -> (u32, u32, u64) {
    let low = |number: u128| (number & u128::from(u32::MAX)) as u32;
    (
        low(tag.0 >> 96),
        low(tag.0 >> 64),
        (tag.0 & u128::from(u64::MAX)) as u64,
    )
}

impl Topic {
    /// Hands messages of the member's partitions out; also when the next one that waits is due.
    pub(super) fn hand_out(
        &self,
        mut request: Request<'_>,
        is_paused: impl Fn(u32) -> bool,
        into: &mut Vec<Received>,
    ) -> Option<Instant> {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut next_due = self.advance(state, request.now);
        let group = state.groups.get_mut(request.group)?;
        let count = group.partitions.len();
        for step in 0..count {
            let partition = (request.begin + step) % count;
            let progress = &mut group.partitions[partition];
            let number = u32::try_from(partition).unwrap_or(u32::MAX);
            if progress.owner != Some(request.member) || progress.moving || is_paused(number) {
                continue;
            }
            progress.advance(request.now);
            let log = &state.logs[partition];
            while into.len() < request.max {
                let Some(offset) = next_offset(progress, log) else {
                    break;
                };
                if let Some(received) = self.deliver(&mut request, progress, log, number, offset) {
                    into.push(received);
                }
            }
            let due = progress.waiting.first().map(|(due, _)| *due);
            next_due = next_due.into_iter().chain(due).min();
        }
        next_due
    }

    fn deliver(
        &self,
        request: &mut Request<'_>,
        progress: &mut Progress,
        log: &PartitionLog,
        partition: u32,
        offset: u64,
    ) -> Option<Received> {
        let entry = log.get(offset)?;
        let unsettled = progress.unsettled.entry(offset).or_insert(Unsettled {
            attempts: 0,
            whereabouts: Whereabouts::Out,
            duplicate: false,
        });
        unsettled.whereabouts = Whereabouts::Out;
        unsettled.attempts = if request.counts_attempts {
            unsettled.attempts.saturating_add(1)
        } else {
            1
        };
        if *request.duplicates > 0 {
            *request.duplicates -= 1;
            unsettled.duplicate = true;
        }
        let attempt = NonZeroU32::new(unsettled.attempts).unwrap_or(NonZeroU32::MIN);
        let mut delivery = Delivery::new(entry.message.clone(), request.group.clone())
            .with_attempt(attempt)
            .with_position(partition, offset);
        delivery.sent_at = entry.message.timestamp;
        Some(Received::new(delivery, tag(self.id, partition, offset)))
    }

    /// Takes a verdict; one on a message that the member does not have any more is ignored.
    pub(super) fn settle(
        &self,
        state: &mut State,
        group: &str,
        member: MemberId,
        (partition, offset): (u32, u64),
        verdict: Verdict,
    ) {
        let place = partition as usize;
        let Some(group) = state.groups.get_mut(group) else {
            return;
        };
        let Some(progress) = group.partitions.get_mut(place) else {
            return;
        };
        if !is_out(progress, member, offset) {
            return;
        }
        let Some(unsettled) = progress.unsettled.get_mut(&offset) else {
            return;
        };
        match verdict {
            Verdict::Done if !std::mem::take(&mut unsettled.duplicate) => {
                progress.unsettled.remove(&offset);
                progress.pending = progress.pending.saturating_sub(1);
                self.settled(state, place, offset);
                return;
            }
            Verdict::Redeliver { after } if !after.is_zero() => {
                let now = Instant::now();
                let due = now.checked_add(after).unwrap_or(now);
                unsettled.whereabouts = Whereabouts::Waiting(due);
                progress.waiting.insert((due, offset));
            }
            Verdict::Return => {
                unsettled.attempts = unsettled.attempts.saturating_sub(1);
                unsettled.whereabouts = Whereabouts::Back;
                progress.back.insert(offset);
            }
            // A message that is to be doubled, or delivered again at once.
            _ => {
                unsettled.whereabouts = Whereabouts::Back;
                progress.back.insert(offset);
            }
        }
        group.wake_owner(place);
    }
}

/// Whether a member has this message, unsettled.
pub(super) fn is_out(progress: &Progress, member: MemberId, offset: u64) -> bool {
    progress.owner == Some(member)
        && progress
            .unsettled
            .get(&offset)
            .is_some_and(|unsettled| unsettled.whereabouts == Whereabouts::Out)
}

/// The message to deliver next: what came back, oldest first, then what was never delivered.
fn next_offset(progress: &mut Progress, log: &PartitionLog) -> Option<u64> {
    if let Some(offset) = progress.back.pop_first() {
        return Some(offset);
    }
    while progress.next < log.next_offset() {
        let offset = progress.next.max(log.first_offset());
        progress.next = offset + 1;
        if log.get(offset).is_some() {
            return Some(offset);
        }
    }
    None
}
