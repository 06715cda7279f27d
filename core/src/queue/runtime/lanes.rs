//! The order of work: messages of one key wait in a lane and are taken one group after the other.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::source::DeliveryTag;
use crate::queue::Delivery;

/// A partition, with the topic as its number in the runtime's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) topic: usize,
    pub(super) partition: u32,
}

/// A key within a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) topic: usize,
    pub(super) key: Bytes,
}

/// A message that this member holds and has not settled.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) delivery: Delivery,
    pub(super) tag: DeliveryTag,
    pub(super) topic: usize,
}

impl Held {
    pub(super) fn place(&self) -> Option<Place> {
        self.delivery.partition.map(|partition| Place {
            topic: self.topic,
            partition,
        })
    }

    pub(super) fn lane(&self) -> Option<LaneKey> {
        self.delivery.message.key.as_ref().map(|key| LaneKey {
            topic: self.topic,
            key: key.clone(),
        })
    }
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Held>,
    /// Whether a message of this lane is being handled.
    busy: bool,
}

#[derive(Debug)]
enum Turn {
    Lane(LaneKey),
    Free(Held),
}

/// Messages that wait for a handler, by key.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
    /// Whose turn it is: lanes that are not busy and have something waiting, each once, and messages without a key.
    turns: VecDeque<Turn>,
    queued: usize,
    queued_at: HashMap<Place, usize>,
}

impl Lanes {
    /// Messages that wait, in all.
    pub(super) fn len(&self) -> usize {
        self.queued
    }

    /// Messages that wait, of one partition.
    pub(super) fn queued_at(&self, place: Place) -> usize {
        self.queued_at.get(&place).copied().unwrap_or(0)
    }

    /// Queues a message behind those of its key.
    pub(super) fn push(&mut self, held: Held) {
        self.insert(held, |waiting, held| waiting.push_back(held));
    }

    /// Queues a message before those of its key: one whose next attempt is due.
    pub(super) fn push_front(&mut self, held: Held) {
        self.insert(held, |waiting, held| waiting.push_front(held));
    }

    fn insert(&mut self, held: Held, add: impl FnOnce(&mut VecDeque<Held>, Held)) {
        self.queued += 1;
        if let Some(place) = held.place() {
            *self.queued_at.entry(place).or_default() += 1;
        }
        let Some(key) = held.lane() else {
            self.turns.push_back(Turn::Free(held));
            return;
        };
        let lane = self.lanes.entry(key.clone()).or_default();
        if !lane.busy && lane.waiting.is_empty() {
            self.turns.push_back(Turn::Lane(key));
        }
        add(&mut lane.waiting, held);
    }

    /// Whether at least `count` messages could be taken now.
    pub(super) fn can_take(&self, count: usize) -> bool {
        let mut found = 0;
        self.turns.iter().any(|turn| {
            found += match turn {
                Turn::Free(_) => 1,
                Turn::Lane(key) => self.lanes.get(key).map_or(0, |lane| lane.waiting.len()),
            };
            found >= count
        })
    }

    /// Takes up to `max` messages; their lanes are busy until [`Lanes::release`].
    pub(super) fn take(&mut self, max: usize) -> Vec<Held> {
        let mut taken = Vec::new();
        while taken.len() < max {
            match self.turns.pop_front() {
                None => break,
                Some(Turn::Free(held)) => taken.push(held),
                Some(Turn::Lane(key)) => {
                    let Some(lane) = self.lanes.get_mut(&key) else {
                        continue;
                    };
                    lane.busy = true;
                    let room = (max - taken.len()).min(lane.waiting.len());
                    taken.extend(lane.waiting.drain(..room));
                }
            }
        }
        for held in &taken {
            self.left(held.place());
        }
        taken
    }

    /// Ends the handling of a key: its next message may be taken.
    pub(super) fn release(&mut self, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        if !lane.busy {
            return;
        }
        lane.busy = false;
        if lane.waiting.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.turns.push_back(Turn::Lane(key));
        }
    }

    /// Takes out every waiting message that `leaves` chooses.
    pub(super) fn remove(&mut self, leaves: impl Fn(&Held) -> bool) -> Vec<Held> {
        let mut removed = Vec::new();
        for turn in std::mem::take(&mut self.turns) {
            match turn {
                Turn::Free(held) if leaves(&held) => removed.push(held),
                Turn::Free(held) => self.turns.push_back(Turn::Free(held)),
                Turn::Lane(key) => self.turns.push_back(Turn::Lane(key)),
            }
        }
        for lane in self.lanes.values_mut() {
            for held in std::mem::take(&mut lane.waiting) {
                if leaves(&held) {
                    removed.push(held);
                } else {
                    lane.waiting.push_back(held);
                }
            }
        }
        self.lanes.retain(|_, lane| lane.busy || !lane.waiting.is_empty());
        let lanes = &self.lanes;
        self.turns.retain(|turn| match turn {
            Turn::Free(_) => true,
            Turn::Lane(key) => lanes.contains_key(key),
        });
        for held in &removed {
            self.left(held.place());
        }
        removed
    }

    fn left(&mut self, place: Option<Place>) {
        self.queued -= 1;
        let Some(place) = place else { return };
        if let Some(count) = self.queued_at.get_mut(&place) {
            *count -= 1;
            if *count == 0 {
                self.queued_at.remove(&place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Message;

    fn held(key: Option<&'static str>, number: u64) -> Held {
        let message = Message::new("t", "p");
        let message = match key {
            Some(key) => message.with_key(key),
            None => message,
        };
        Held {
            delivery: Delivery::new(message, "g").with_position(0, number),
            tag: DeliveryTag(u128::from(number)),
            topic: 0,
        }
    }

    fn tags(taken: &[Held]) -> Vec<u128> {
        taken.iter().map(|held| held.tag.0).collect()
    }

    #[test]
    fn one_message_of_a_key_at_a_time_and_keys_do_not_wait_for_each_other() {
        let mut lanes = Lanes::default();
        for (key, number) in [(Some("a"), 0), (Some("a"), 1), (Some("b"), 2), (None, 3)] {
            lanes.push(held(key, number));
        }
        let first = lanes.take(1);
        assert_eq!(tags(&first), [0]);
        assert_eq!(tags(&lanes.take(1)), [2]);
        assert_eq!(tags(&lanes.take(1)), [3]);
        assert!(lanes.take(1).is_empty(), "1 waits for 0");
        lanes.release(first[0].lane().expect("keyed"));
        assert_eq!(tags(&lanes.take(1)), [1]);
        assert_eq!(lanes.len(), 0);
        assert_eq!(
            lanes.queued_at(Place {
                topic: 0,
                partition: 0
            }),
            0
        );
    }

    #[test]
    fn a_batch_takes_a_whole_lane_in_order() {
        let mut lanes = Lanes::default();
        for (key, number) in [(Some("a"), 0), (Some("b"), 1), (Some("a"), 2), (Some("b"), 3)] {
            lanes.push(held(key, number));
        }
        assert!(lanes.can_take(4) && !lanes.can_take(5));
        assert_eq!(tags(&lanes.take(3)), [0, 2, 1]);
        assert!(!lanes.can_take(1), "3 waits for 1");
    }

    #[test]
    fn what_is_removed_leaves_no_turn_behind() {
        let mut lanes = Lanes::default();
        lanes.push(held(Some("a"), 0));
        lanes.push(held(Some("a"), 1));
        let running = lanes.take(1);
        lanes.push(held(Some("b"), 2));
        lanes.push(held(None, 3));
        assert_eq!(lanes.remove(|_| true).len(), 3);
        assert_eq!(lanes.len(), 0);
        lanes.release(running[0].lane().expect("keyed"));
        assert!(lanes.take(9).is_empty());
        assert!(lanes.lanes.is_empty());
        lanes.push_front(held(Some("a"), 4));
        assert_eq!(tags(&lanes.take(9)), [4]);
    }
}
