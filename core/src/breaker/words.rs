//! What fits into one atomic word each: the phase, a count of a phase, a probe's place, a ticket.
//!
//! Layouts are private to the breaker. Milliseconds have 40 bits (34 years), generations 22: a call would have to outlive four
//! million transitions to be taken for one of the current phase.

use std::time::Duration;

use super::contract::State;
use super::permit::Ticket;
use crate::sync::atomic::{AtomicU64, Ordering};

const MILLIS_BITS: u32 = 40;
const MILLIS: u64 = (1 << MILLIS_BITS) - 1;
const GENERATION_BITS: u32 = 22;
const GENERATION: u32 = (1 << GENERATION_BITS) - 1;

/// What a breaker that nobody forces is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Open,
    HalfOpen,
}

impl Phase {
    pub(super) const fn state(self) -> State {
        match self {
            Self::Closed => State::Closed,
            Self::Open => State::Open,
            Self::HalfOpen => State::HalfOpen,
        }
    }
}

/// Phase (2 bits), generation (22) and the millisecond at which the phase began (40).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    pub(super) const fn new(phase: Phase, generation: u32, since: u64) -> Self {
        let generation = (generation & GENERATION) as u64;
        Self((phase as u64) << (MILLIS_BITS + GENERATION_BITS) | generation << MILLIS_BITS | (since & MILLIS))
    }

    pub(super) const fn phase(self) -> Phase {
        match self.0 >> (MILLIS_BITS + GENERATION_BITS) {
            0 => Phase::Closed,
            1 => Phase::Open,
            _ => Phase::HalfOpen,
        }
    }

    pub(super) const fn generation(self) -> u32 {
        (self.0 >> MILLIS_BITS) as u32 & GENERATION
    }

    pub(super) const fn since(self) -> u64 {
        self.0 & MILLIS
    }

    /// A time in the unit of [`since`](Self::since).
    pub(super) fn millis(time: Duration) -> u64 {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(MILLIS)
    }
}

/// Whether `one` began after `other`; generations start again from zero, so the nearer way round counts.
const fn is_newer(one: u32, other: u32) -> bool {
    let ahead = one.wrapping_sub(other) & GENERATION;
    ahead != 0 && ahead <= GENERATION / 2
}

/// A count that belongs to one generation; read under another it is zero.
#[derive(Debug, Default)]
pub(super) struct TaggedCount(AtomicU64);

impl TaggedCount {
    const fn pack(generation: u32, count: u32) -> u64 {
        (generation as u64) << 32 | count as u64
    }

    fn count(word: u64, generation: u32) -> u32 {
        if (word >> 32) as u32 == generation {
            word as u32
        } else {
            0
        }
    }

    pub(super) fn read(&self, generation: u32) -> u32 {
        Self::count(self.0.load(Ordering::Acquire), generation)
    }

    /// Counts one more and returns the new count; 0 when a later generation has counted already.
    pub(super) fn increment(&self, generation: u32) -> u32 {
        let mut current = self.0.load(Ordering::Acquire);
        loop {
            if current as u32 != 0 && is_newer((current >> 32) as u32, generation) {
                return 0;
            }
            let next = Self::count(current, generation).saturating_add(1);
            match self.0.compare_exchange_weak(
                current,
                Self::pack(generation, next),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return next,
                Err(seen) => current = seen,
            }
        }
    }

    /// Back to zero; writes nothing when it is zero already, so that successful calls share the cache line.
    pub(super) fn reset(&self, generation: u32) {
        let current = self.0.load(Ordering::Acquire);
        if Self::count(current, generation) == 0 {
            return;
        }
        // Whoever gets in between has counted a failure at the same moment: either order is right.
        let _ = self.0.compare_exchange(
            current,
            Self::pack(generation, 0),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    }
}

/// The place of one probe: empty, or taken by a probe of a generation at a millisecond.
#[derive(Debug, Default)]
pub(super) struct Place(AtomicU64);

impl Place {
    const TAKEN: u64 = 1 << 63;

    const fn generation(word: u64) -> u32 {
        (word >> MILLIS_BITS) as u32 & GENERATION
    }

    fn belongs_to(word: u64, generation: u32) -> bool {
        word & Self::TAKEN != 0 && Self::generation(word) == generation
    }

    /// Whether a probe of `generation` must leave it alone: one of that generation, or of a later one, is in it.
    fn is_occupied(word: u64, generation: u32) -> bool {
        Self::belongs_to(word, generation)
            || (word & Self::TAKEN != 0 && is_newer(Self::generation(word), generation))
    }

    /// Takes the place for a probe of `generation`, unless another one of that or a later generation is in it.
    pub(super) fn take(&self, generation: u32, millis: u64) -> bool {
        let taken = Self::TAKEN | u64::from(generation & GENERATION) << MILLIS_BITS | (millis & MILLIS);
        let mut current = self.0.load(Ordering::Acquire);
        while !Self::is_occupied(current, generation) {
            match self
                .0
                .compare_exchange_weak(current, taken, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(seen) => current = seen,
            }
        }
        false
    }

    /// Empties the place if it still belongs to `generation`.
    pub(super) fn free(&self, generation: u32) {
        let current = self.0.load(Ordering::Acquire);
        if Self::belongs_to(current, generation) {
            // Lost only to a later generation, which then owns the place.
            let _ = self
                .0
                .compare_exchange(current, 0, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// When it was taken by a probe of `generation`.
    pub(super) fn taken_at(&self, generation: u32) -> Option<u64> {
        let word = self.0.load(Ordering::Acquire);
        Self::belongs_to(word, generation).then_some(word & MILLIS)
    }
}

/// What a [`Ticket`] of this breaker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TicketKind {
    /// Let through by force: its end counts as nothing.
    Uncounted,
    /// Let through while closed.
    Counted { generation: u32 },
    /// Let through while half-open.
    Probe { generation: u32, place: usize },
}

impl TicketKind {
    pub(super) const fn pack(self) -> Ticket {
        Ticket::from_bits(match self {
            Self::Uncounted => 0,
            Self::Counted { generation } => 1 << 62 | generation as u64,
            Self::Probe { generation, place } => 2 << 62 | (place as u64) << 32 | generation as u64,
        })
    }

    /// `None` for a ticket that no breaker of this kind has made.
    pub(super) const fn unpack(ticket: Ticket) -> Option<Self> {
        let bits = ticket.bits();
        let generation = bits as u32 & GENERATION;
        match bits >> 62 {
            0 => Some(Self::Uncounted),
            1 => Some(Self::Counted { generation }),
            2 => Some(Self::Probe {
                generation,
                place: (bits >> 32) as usize & 0xFF,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_what_they_were_given() {
        for phase in [Phase::Closed, Phase::Open, Phase::HalfOpen] {
            let word = Word::new(phase, GENERATION, MILLIS);
            assert_eq!(
                (word.phase(), word.generation(), word.since()),
                (phase, GENERATION, MILLIS)
            );
            let next = Word::new(phase, word.generation().wrapping_add(1), u64::MAX);
            assert_eq!(
                (next.phase(), next.generation(), next.since()),
                (phase, 0, MILLIS)
            );
        }
        assert_eq!(Word::millis(Duration::MAX), MILLIS);
    }

    #[test]
    fn tickets_round_trip_and_strangers_are_recognised() {
        for kind in [
            TicketKind::Uncounted,
            TicketKind::Counted {
                generation: GENERATION,
            },
            TicketKind::Probe {
                generation: 3,
                place: 31,
            },
        ] {
            assert_eq!(TicketKind::unpack(kind.pack()), Some(kind));
        }
        assert_eq!(TicketKind::unpack(Ticket::from_bits(u64::MAX)), None);
    }

    #[test]
    fn counts_and_places_belong_to_their_generation() {
        let count = TaggedCount::default();
        assert_eq!((count.increment(4), count.increment(4), count.read(5)), (1, 2, 0));
        count.reset(5);
        assert_eq!(count.read(4), 2, "a reset of another generation leaves it alone");
        count.reset(4);
        assert_eq!(count.read(4), 0);

        let place = Place::default();
        assert!(place.take(1, 10) && !place.take(1, 11));
        assert!(
            place.take(2, 12),
            "a probe of an earlier generation holds nobody up"
        );
        place.free(1);
        assert_eq!((place.taken_at(1), place.taken_at(2)), (None, Some(12)));
    }
}
