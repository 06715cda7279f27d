//! Sorted sets: members in the order of their scores.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::Keys;
use crate::error::Result;
use crate::hidden::Hidden;

/// A member with its score.
#[derive(Clone, PartialEq)]
pub struct Scored {
    /// The member.
    pub member: Bytes,
    /// Its score; never NaN.
    pub score: f64,
}

/// Shows the size of the member.
impl fmt::Debug for Scored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scored")
            .field("member", &Hidden::of(&self.member))
            .field("score", &self.score)
            .finish()
    }
}

impl Scored {
    /// Pairs a member with its score.
    #[must_use]
    pub fn new(member: impl Into<Bytes>, score: f64) -> Self {
        Self {
            member: member.into(),
            score,
        }
    }
}

/// In which direction members are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Smallest score first; equal scores by member, in the order of bytes.
    #[default]
    Ascending,
    /// Exactly the other way round.
    Descending,
}

/// Members by their rank in the given order, from 0; negative ranks count from the end (-1 is the last).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RankRange {
    /// The first rank.
    pub start: i64,
    /// The last rank, which is included.
    pub stop: i64,
    /// The order that ranks count in.
    pub order: Order,
}

impl RankRange {
    /// All members, smallest score first.
    pub const ALL: Self = Self::new(0, -1);

    /// From `start` to `stop`, both included, smallest score first.
    #[must_use]
    pub const fn new(start: i64, stop: i64) -> Self {
        Self {
            start,
            stop,
            order: Order::Ascending,
        }
    }

    /// The `count` members with the greatest scores, greatest first; none for 0.
    #[must_use]
    pub fn greatest(count: u32) -> Self {
        // For 0 the range 0..=-1 would mean "all".
        let stop = if count == 0 {
            i64::MIN
        } else {
            i64::from(count) - 1
        };
        Self {
            start: 0,
            stop,
            order: Order::Descending,
        }
    }

    /// The positions that this range selects among `len` members, or `None` when it selects none.
    ///
    /// ```
    /// use infra_core::cache::RankRange;
    /// assert_eq!(RankRange::ALL.positions(3), Some(0..=2));
    /// assert_eq!(RankRange::new(-2, 99).positions(3), Some(1..=2));
    /// assert_eq!(RankRange::greatest(0).positions(3), None);
    /// ```
    #[must_use]
    pub fn positions(&self, len: usize) -> Option<std::ops::RangeInclusive<usize>> {
        let count = i64::try_from(len).unwrap_or(i64::MAX);
        let from_end = |rank: i64| {
            if rank < 0 {
                count.saturating_add(rank)
            } else {
                rank
            }
        };
        let start = from_end(self.start).max(0);
        let stop = from_end(self.stop).min(count.saturating_sub(1));
        if start > stop {
            return None;
        }
        Some(usize::try_from(start).ok()?..=usize::try_from(stop).ok()?)
    }
}

/// One end of a range of scores, at full precision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScoreBound {
    /// No bound.
    Unbounded,
    /// This score and beyond.
    Included(f64),
    /// Beyond this score only.
    Excluded(f64),
}

/// Members by their score.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ScoreRange {
    /// The lower end.
    pub min: ScoreBound,
    /// The upper end.
    pub max: ScoreBound,
    /// The order of the result.
    pub order: Order,
    /// Leaves out so many first members of the result.
    pub offset: u64,
    /// Returns at most so many members.
    pub limit: Option<u64>,
}

impl ScoreRange {
    /// Every score.
    pub const ALL: Self = Self {
        min: ScoreBound::Unbounded,
        max: ScoreBound::Unbounded,
        order: Order::Ascending,
        offset: 0,
        limit: None,
    };

    /// Scores from `min` to `max`, both included.
    #[must_use]
    pub const fn between(min: f64, max: f64) -> Self {
        Self {
            min: ScoreBound::Included(min),
            max: ScoreBound::Included(max),
            ..Self::ALL
        }
    }

    /// The same range with another lower end.
    #[must_use]
    pub const fn with_min(mut self, min: ScoreBound) -> Self {
        self.min = min;
        self
    }

    /// The same range with another upper end.
    #[must_use]
    pub const fn with_max(mut self, max: ScoreBound) -> Self {
        self.max = max;
        self
    }

    /// The same range, greatest score first.
    #[must_use]
    pub const fn descending(mut self) -> Self {
        self.order = Order::Descending;
        self
    }

    /// The same range, leaving out `offset` members and returning at most `limit`.
    #[must_use]
    pub const fn page(mut self, offset: u64, limit: u64) -> Self {
        self.offset = offset;
        self.limit = Some(limit);
        self
    }

    /// Whether a score lies in this range.
    #[must_use]
    pub fn contains(&self, score: f64) -> bool {
        let above = match self.min {
            ScoreBound::Unbounded => true,
            ScoreBound::Included(min) => score >= min,
            ScoreBound::Excluded(min) => score > min,
        };
        let below = match self.max {
            ScoreBound::Unbounded => true,
            ScoreBound::Included(max) => score <= max,
            ScoreBound::Excluded(max) => score < max,
        };
        above && below
    }
}

/// Sorted sets. A sorted set without members does not exist.
///
/// # Contract
/// - Members come with their scores, in one round trip.
/// - A score that is not a number is [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
#[crate::intercept(component = "cache")]
#[async_trait]
pub trait SortedSets: Keys {
    /// Adds members or changes their scores, and returns how many are new.
    #[call(idempotent)]
    async fn sorted_add(&self, key: &str, members: &[Scored]) -> Result<u64>;

    /// Members by rank.
    #[call(idempotent)]
    async fn sorted_range(&self, key: &str, range: RankRange) -> Result<Vec<Scored>>;

    /// Members by score.
    #[call(idempotent)]
    async fn sorted_range_by_score(&self, key: &str, range: ScoreRange) -> Result<Vec<Scored>>;

    /// Removes members, and returns how many there were.
    #[call(idempotent)]
    async fn sorted_remove(&self, key: &str, members: &[Bytes]) -> Result<u64>;

    /// Removes members by rank, and returns how many there were.
    async fn sorted_remove_by_rank(&self, key: &str, range: RankRange) -> Result<u64>;

    /// The number of members.
    #[call(idempotent)]
    async fn sorted_len(&self, key: &str) -> Result<u64>;

    /// The number of members in a range of scores; its offset and limit do not count.
    #[call(idempotent)]
    async fn sorted_count(&self, key: &str, range: ScoreRange) -> Result<u64>;

    /// The score of a member, or `None`.
    #[call(idempotent)]
    async fn sorted_score(&self, key: &str, member: Bytes) -> Result<Option<f64>>;
}

crate::assert_object_safe!(SortedSets);
