//! Telling the broker what became of messages: in batches, one call at a time, repeated until it is stored.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep};

use super::lanes::{Held, Place};
use super::source::{
    Acknowledgement, DeliverySource, DeliveryTag, Position, Settlement, TopicPartition, Verdict,
};
use super::watermark::Watermark;
use super::work::doubled;
use crate::ErrorKind;

/// The delays between attempts to reach a broker that is away.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The delay before attempt number `attempt + 1` to reach a broker.
pub(super) fn pause_before(attempt: u32) -> Duration {
    doubled(FIRST_PAUSE, LONGEST_PAUSE, attempt)
}

/// Collects what is to be told and tells it.
pub(super) struct Settler {
    source: Arc<dyn DeliverySource>,
    style: Acknowledgement,
    verdicts: Vec<(DeliveryTag, Verdict)>,
    watermarks: HashMap<Place, (TopicPartition, Watermark)>,
    next_commit: Option<Instant>,
    call: Option<BoxFuture<'static, ()>>,
    /// How much was noted, how much of it the call under way tells, and how much the broker knows.
    noted: u64,
    telling: u64,
    told: u64,
}

/// A point in what was noted; see [`Settler::so_far`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told(u64);

impl fmt::Debug for Settler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settler")
            .field("verdicts", &self.verdicts.len())
            .field("busy", &self.call.is_some())
            .finish_non_exhaustive()
    }
}

impl Settler {
    pub(super) fn new(source: Arc<dyn DeliverySource>) -> Self {
        Self {
            style: source.traits().acknowledgement,
            source,
            verdicts: Vec::new(),
            watermarks: HashMap::new(),
            next_commit: None,
            call: None,
            noted: 0,
            telling: 0,
            told: 0,
        }
    }

    /// Notes a delivery.
    pub(super) fn delivered(&mut self, held: &Held) {
        if self.style == Acknowledgement::Each {
            return;
        }
        let (Some(place), Some(offset)) = (held.place(), held.delivery.offset) else {
            return;
        };
        let (_, watermark) = self.watermarks.entry(place).or_insert_with(|| {
            let topic = held.delivery.message.topic.as_str();
            (TopicPartition::new(topic, place.partition), Watermark::new())
        });
        watermark.delivered(offset);
    }

    /// Notes that a message is done with.
    pub(super) fn done(&mut self, held: &Held, now: Instant) {
        let Acknowledgement::Log { interval } = self.style else {
            self.note(held.tag, Verdict::Done);
            return;
        };
        if let (Some(place), Some(offset)) = (held.place(), held.delivery.offset)
            && let Some((_, watermark)) = self.watermarks.get_mut(&place)
        {
            watermark.finished(offset);
            self.noted += 1;
            self.next_commit.get_or_insert(now + interval);
        }
    }

    /// Lets the broker deliver a message again.
    pub(super) fn redeliver(&mut self, held: &Held, after: Duration) {
        self.note(held.tag, Verdict::Redeliver { after });
    }

    /// Gives a message back. In a log this needs no word: its offset stays unfinished.
    pub(super) fn give_back(&mut self, held: &Held) {
        if self.style == Acknowledgement::Each {
            self.note(held.tag, Verdict::Return);
        }
    }

    fn note(&mut self, tag: DeliveryTag, verdict: Verdict) {
        self.noted += 1;
        self.verdicts.push((tag, verdict));
    }

    /// Everything that was noted until now.
    pub(super) fn so_far(&self) -> Told {
        Told(self.noted)
    }

    /// Whether the broker knows everything up to a point.
    pub(super) fn is_told(&self, point: Told) -> bool {
        self.told >= point.0
    }

    /// When the next position has to be stored.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next_commit.filter(|_| self.call.is_none())
    }

    /// Stores positions without waiting for the interval.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some(due) = &mut self.next_commit {
            *due = now;
        }
    }

    /// Whether a call is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.call.is_some()
    }

    /// Whether the broker knows everything.
    pub(super) fn is_idle(&self) -> bool {
        self.call.is_none() && self.verdicts.is_empty() && self.next_commit.is_none()
    }

    /// Begins a call if there is something to tell and none is under way.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.call.is_some() {
            return;
        }
        if !self.verdicts.is_empty() {
            self.telling = self.noted;
            let verdicts = std::mem::take(&mut self.verdicts);
            self.call = Some(Box::pin(tell(self.source.clone(), Words::Each(verdicts))));
        } else if self.next_commit.is_some_and(|due| due <= now) {
            self.next_commit = None;
            let positions = self.positions();
            self.telling = self.noted;
            if positions.is_empty() {
                self.told = self.noted;
            } else {
                self.call = Some(Box::pin(tell(self.source.clone(), Words::Log(positions))));
            }
        }
    }

    fn positions(&mut self) -> Vec<Position> {
        let mut positions = Vec::new();
        for (partition, watermark) in self.watermarks.values_mut() {
            if let Some(next_offset) = watermark.committable() {
                // The call is repeated until it succeeds, so that the position counts as stored from here on.
                watermark.committed(next_offset);
                positions.push(Position::new(partition.clone(), next_offset));
            }
        }
        positions
    }

    /// Waits for the call that is under way. Cancel-safe.
    pub(super) async fn told(&mut self) {
        if let Some(call) = &mut self.call {
            call.await;
            self.call = None;
            self.told = self.telling;
        }
    }

    /// Forgets partitions that were taken away.
    pub(super) fn forget(&mut self, gone: impl Fn(Place) -> bool) {
        self.watermarks.retain(|place, _| !gone(*place));
    }
}

enum Words {
    Each(Vec<(DeliveryTag, Verdict)>),
    Log(Vec<Position>),
}

async fn tell(source: Arc<dyn DeliverySource>, words: Words) {
    let mut attempt = 0_u32;
    loop {
        let settlement = match &words {
            Words::Each(verdicts) => Settlement::Each(verdicts),
            Words::Log(positions) => Settlement::Log(positions),
        };
        match source.settle(settlement).await {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::Closed => {
                tracing::debug!(%error, "the queue was closed before messages were settled; they are delivered again");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, attempt, "cannot settle messages yet; trying again");
                sleep(pause_before(attempt)).await;
                attempt = attempt.saturating_add(1);
            }
        }
    }
}
