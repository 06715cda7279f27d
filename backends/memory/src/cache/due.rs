//! Which keys expire when, so that their memory is given back without a sweep. Knows nothing of the keyspace.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use tokio::time::Instant;

use super::store::Key;

/// A writer looks for what is due every so many writes to its stripe.
const EVERY: u32 = 8;

/// And then takes care of so many keys at most: twice as many as were written, so that the list shrinks.
const AT_ONCE: usize = 16;

/// A stripe's part of the list may have this many keys in any case.
const LEAST_CAPACITY: usize = 64;

/// The keys of every stripe in the order of their deadlines, each key once.
///
/// A key that is written again keeps its place; when that is due, the keyspace knows better and the key is listed anew.
/// The list is bounded: a stripe's part that grew too long loses the latest half of its deadlines. A key that fell out
/// of the list still expires on time; its memory is given back by eviction.
#[derive(Debug)]
pub(super) struct DueList {
    stripes: Box<[Mutex<Part>]>,
    hasher: RandomState,
    /// The most keys per stripe.
    capacity: usize,
    /// Whether anything ever had a deadline: spares those who use none the look into the list.
    used: AtomicBool,
}

#[derive(Debug, Default)]
struct Part {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
    /// The hashes of the keys in the heap. Of two keys with one hash, the second is not listed.
    listed: HashSet<u64, RandomState>,
    writes: u32,
}

impl DueList {
    /// An empty list for a keyspace of at most `max_entries` keys.
    pub(super) fn new(stripes: usize, max_entries: u64) -> Self {
        let share = usize::try_from(max_entries).unwrap_or(usize::MAX) / stripes.max(1);
        Self {
            stripes: std::iter::repeat_with(Mutex::default).take(stripes).collect(),
            hasher: RandomState::default(),
            capacity: share.saturating_mul(2).max(LEAST_CAPACITY),
            used: AtomicBool::new(false),
        }
    }

    /// Notes that a key of this stripe was written, and gives a few keys of the stripe that are due now and then.
    #[inline]
    pub(super) fn note_write(&self, stripe: usize, deadline: Option<Instant>, key: &Key) -> Vec<Key> {
        if deadline.is_none() && !self.used.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut part = self.lock(stripe);
        if let Some(deadline) = deadline {
            self.used.store(true, Ordering::Relaxed);
            self.list(&mut part, deadline, key);
        }
        part.writes = part.writes.wrapping_add(1);
        if part.writes.is_multiple_of(EVERY) {
            self.take_due(&mut part, Instant::now())
        } else {
            Vec::new()
        }
    }

    /// Lists a key that was due, and has a later deadline by now.
    pub(super) fn list_again(&self, stripe: usize, deadline: Instant, key: &Key) {
        self.list(&mut self.lock(stripe), deadline, key);
    }

    fn list(&self, part: &mut Part, deadline: Instant, key: &Key) {
        if !part.listed.insert(self.hasher.hash_one(key)) {
            return;
        }
        part.heap.push(Reverse((deadline, Key::clone(key))));
        if part.heap.len() > self.capacity {
            let mut places = std::mem::take(&mut part.heap).into_vec();
            // Reversed, the latest deadlines come first.
            places.sort_unstable();
            for Reverse((_, key)) in places.drain(..self.capacity / 2) {
                part.listed.remove(&self.hasher.hash_one(&key));
            }
            part.heap = places.into();
        }
    }

    fn take_due(&self, part: &mut Part, now: Instant) -> Vec<Key> {
        let mut due = Vec::new();
        while due.len() < AT_ONCE
            && let Some(Reverse((deadline, _))) = part.heap.peek()
            && *deadline <= now
            && let Some(Reverse((_, key))) = part.heap.pop()
        {
            part.listed.remove(&self.hasher.hash_one(&key));
            due.push(key);
        }
        due
    }

    fn lock(&self, stripe: usize) -> MutexGuard<'_, Part> {
        self.stripes[stripe]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(number: u32) -> Key {
        Key::from(number.to_string())
    }

    fn drain(list: &DueList) -> Vec<Key> {
        let mut taken = Vec::new();
        for _ in 0..500 {
            let due = list.note_write(0, None, &key(0));
            assert!(due.len() <= AT_ONCE);
            taken.extend(due);
        }
        taken.sort();
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn writers_take_what_is_due_and_no_more() {
        let list = DueList::new(1, 1000);
        let soon = Instant::now() + Duration::from_secs(1);
        let late = Instant::now() + Duration::from_secs(9);
        for number in 0..100 {
            let deadline = if number % 2 == 0 { soon } else { late };
            assert!(list.note_write(0, Some(deadline), &key(number)).is_empty());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        let mut expected: Vec<_> = (0..100).step_by(2).map(key).collect();
        expected.sort();
        assert_eq!(drain(&list), expected);
        assert!(drain(&list).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_listed_once_until_it_is_due() {
        let list = DueList::new(1, 1000);
        let second = Duration::from_secs(1);
        for _ in 0..100 {
            list.note_write(0, Some(Instant::now() + second), &key(1));
        }
        tokio::time::advance(second).await;
        assert_eq!(drain(&list), [key(1)]);
        list.list_again(0, Instant::now() + second, &key(1));
        tokio::time::advance(second).await;
        assert_eq!(drain(&list), [key(1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_bounded_and_keeps_the_earliest() {
        let list = DueList::new(1, 100);
        let begin = Instant::now();
        for number in (0..10_000).rev() {
            let deadline = begin + Duration::from_secs(1 + u64::from(number));
            list.note_write(0, Some(deadline), &key(number));
            let part = list.lock(0);
            assert!(part.heap.len() <= 200 && part.heap.len() == part.listed.len());
        }
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(drain(&list).len(), 50);
    }
}
