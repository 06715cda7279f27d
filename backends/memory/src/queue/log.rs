//! One partition: messages by offset, each with the number of groups that have not settled it. No locks, no time.

use std::collections::VecDeque;

use infra_core::queue::Message;
use tokio::time::Instant;

/// A message that is kept.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Message,
    pub(super) size: usize,
    /// Groups that have not settled it.
    pub(super) claims: u32,
    /// Whether it counts against the topic's capacity.
    pub(super) counted: bool,
    pub(super) stored_at: Instant,
}

/// The messages of one partition; what was reclaimed leaves a gap until it is at the front.
#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    first: u64,
    entries: VecDeque<Option<Entry>>,
}

impl PartitionLog {
    /// The offset of the oldest place that is kept.
    pub(super) fn first_offset(&self) -> u64 {
        self.first
    }

    /// The offset that the next message gets.
    pub(super) fn next_offset(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    pub(super) fn push(&mut self, entry: Entry) -> u64 {
        let offset = self.next_offset();
        self.entries.push_back(Some(entry));
        offset
    }

    pub(super) fn get(&self, offset: u64) -> Option<&Entry> {
        self.entries.get(self.index(offset)?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, offset: u64) -> Option<&mut Entry> {
        let index = self.index(offset)?;
        self.entries.get_mut(index)?.as_mut()
    }

    /// Reclaims a message.
    pub(super) fn remove(&mut self, offset: u64) -> Option<Entry> {
        let index = self.index(offset)?;
        let removed = self.entries.get_mut(index)?.take();
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first += 1;
        }
        removed
    }

    /// The oldest message, with its offset. The front is never a gap.
    pub(super) fn front(&self) -> Option<(u64, &Entry)> {
        Some((self.first, self.entries.front()?.as_ref()?))
    }

    /// Every message that is kept, with its offset.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Entry)> {
        let first = self.first;
        self.entries
            .iter_mut()
            .enumerate()
            .filter_map(move |(index, entry)| Some((first + index as u64, entry.as_mut()?)))
    }

    fn index(&self, offset: u64) -> Option<usize> {
        usize::try_from(offset.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_close_at_the_front_and_offsets_stay() {
        let mut log = PartitionLog::default();
        for number in 0..4_u8 {
            let entry = Entry {
                message: Message::new("t", vec![number]),
                size: 1,
                claims: 1,
                counted: true,
                stored_at: Instant::now(),
            };
            assert_eq!(log.push(entry), u64::from(number));
        }
        assert!(log.remove(1).is_some() && log.remove(1).is_none());
        assert_eq!(log.first_offset(), 0);
        assert!(log.remove(0).is_some());
        assert_eq!((log.first_offset(), log.next_offset()), (2, 4));
        assert!(log.get(0).is_none() && log.get(4).is_none());
        assert_eq!(log.get(3).map(|entry| entry.message.payload[0]), Some(3));
        assert_eq!(log.front().map(|(offset, _)| offset), Some(2));
    }
}
