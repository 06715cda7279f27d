//! The sorted set as a data structure: members by score, ties by member, scores by member. Plain data, no clock.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use infra_core::cache::{Order, RankRange, ScoreBound, ScoreRange, Scored};

/// Where a member stands: by score, then by the bytes of the member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    score: Score,
    member: Bytes,
}

impl Position {
    /// The first place that a member of this score could take (no member sorts before the empty one).
    fn first_of(score: f64) -> Self {
        Self {
            score: Score::new(score),
            member: Bytes::new(),
        }
    }

    fn scored(&self) -> Scored {
        Scored::new(self.member.clone(), self.score.0)
    }
}

/// A score in total order; never NaN, and never the negative zero, which would sort apart from its equal.
#[derive(Debug, Clone, Copy)]
struct Score(f64);

impl Score {
    fn new(score: f64) -> Self {
        // Adding positive zero turns the negative zero into it and leaves every other number as it is.
        Self(score + 0.0)
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Members in the order of their scores.
///
/// A range near either end costs what it returns; one in the middle also walks from the nearer end.
#[derive(Debug, Default)]
pub(super) struct SortedSet {
    order: BTreeSet<Position>,
    scores: HashMap<Bytes, Score>,
    pub(super) bytes: usize,
}

impl SortedSet {
    /// What one member costs beside its bytes: its handle in the tree and in the table.
    pub(super) const MEMBER_BYTES: usize = 120;

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn score(&self, member: &Bytes) -> Option<f64> {
        self.scores.get(member).map(|score| score.0)
    }

    /// Adds a member or changes its score, and returns the score it had. The score must not be NaN.
    pub(super) fn insert(&mut self, member: Bytes, score: f64) -> Option<f64> {
        let score = Score::new(score);
        let before = self.scores.insert(member.clone(), score);
        match before {
            Some(before) if before == score => return Some(before.0),
            Some(before) => {
                self.order.remove(&Position {
                    score: before,
                    member: member.clone(),
                });
            }
            None => self.bytes += member.len() + Self::MEMBER_BYTES,
        }
        self.order.insert(Position { score, member });
        before.map(|score| score.0)
    }

    /// Removes a member, and returns the score it had.
    pub(super) fn remove(&mut self, member: &Bytes) -> Option<f64> {
        let (member, score) = self.scores.remove_entry(member)?;
        self.bytes -= member.len() + Self::MEMBER_BYTES;
        self.order.remove(&Position { score, member });
        Some(score.0)
    }

    /// Members by rank, in the order of the range.
    pub(super) fn by_rank(&self, range: RankRange) -> Vec<Scored> {
        let Some(ranks) = range.positions(self.len()) else {
            return Vec::new();
        };
        let (start, count) = (*ranks.start(), ranks.end() - ranks.start() + 1);
        match range.order {
            Order::Ascending => slice(self.order.iter(), self.len(), start, count),
            Order::Descending => slice(self.order.iter().rev(), self.len(), start, count),
        }
    }

    /// Members by score, in the order of the range.
    pub(super) fn by_score(&self, range: &ScoreRange) -> Vec<Scored> {
        let skip = usize::try_from(range.offset).unwrap_or(usize::MAX);
        let limit = range
            .limit
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        match range.order {
            Order::Ascending => page(self.within(range), skip, limit),
            Order::Descending => page(self.within(range).rev(), skip, limit),
        }
    }

    /// How many members a range of scores holds.
    pub(super) fn count(&self, range: &ScoreRange) -> usize {
        if range.min == ScoreBound::Unbounded && range.max == ScoreBound::Unbounded {
            return self.len();
        }
        self.within(range).count()
    }

    fn within(&self, range: &ScoreRange) -> impl DoubleEndedIterator<Item = &Position> {
        bounds(range)
            .map(|bounds| self.order.range(bounds))
            .into_iter()
            .flatten()
    }
}

/// `count` positions from `start` on, walked to from the nearer end.
fn slice<'s>(
    positions: impl DoubleEndedIterator<Item = &'s Position>,
    len: usize,
    start: usize,
    count: usize,
) -> Vec<Scored> {
    let behind = len - start - count;
    if start <= behind {
        return page(positions, start, count);
    }
    let mut found = page(positions.rev(), behind, count);
    found.reverse();
    found
}

fn page<'s>(positions: impl Iterator<Item = &'s Position>, skip: usize, limit: usize) -> Vec<Scored> {
    positions.skip(skip).take(limit).map(Position::scored).collect()
}

/// The range of positions that a range of scores means, or `None` when it holds nothing whatever the set.
///
/// Every bound becomes "from the first place of this score" with the next greater number for an excluded minimum and
/// for an included maximum, so that no score is compared with a tolerance.
fn bounds(range: &ScoreRange) -> Option<(Bound<Position>, Bound<Position>)> {
    let lower = match range.min {
        ScoreBound::Unbounded => None,
        ScoreBound::Included(min) => Some(min),
        ScoreBound::Excluded(min) if min == f64::INFINITY => return None,
        ScoreBound::Excluded(min) => Some((min + 0.0).next_up()),
    };
    let upper = match range.max {
        ScoreBound::Unbounded => None,
        ScoreBound::Included(max) if max == f64::INFINITY => None,
        ScoreBound::Included(max) => Some((max + 0.0).next_up()),
        ScoreBound::Excluded(max) => Some(max),
    };
    if let (Some(lower), Some(upper)) = (lower, upper)
        && lower >= upper
    {
        return None;
    }
    Some((
        lower.map_or(Bound::Unbounded, |score| {
            Bound::Included(Position::first_of(score))
        }),
        upper.map_or(Bound::Unbounded, |score| {
            Bound::Excluded(Position::first_of(score))
        }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(members: &[(&'static str, f64)]) -> SortedSet {
        let mut set = SortedSet::default();
        for (member, score) in members {
            set.insert(Bytes::from_static(member.as_bytes()), *score);
        }
        set
    }

    fn names(found: &[Scored]) -> Vec<&str> {
        found
            .iter()
            .map(|scored| std::str::from_utf8(&scored.member).expect("test members are text"))
            .collect()
    }

    #[test]
    fn equal_scores_are_ordered_by_member_and_zero_has_one_sign() {
        let set = set(&[
            ("b", 0.0),
            ("a", -0.0),
            ("c", f64::NEG_INFINITY),
            ("d", f64::INFINITY),
        ]);
        assert_eq!(names(&set.by_rank(RankRange::ALL)), ["c", "a", "b", "d"]);
        assert_eq!(set.score(&Bytes::from_static(b"a")).map(f64::to_bits), Some(0));
        for zero in [0.0, -0.0] {
            assert_eq!(set.count(&ScoreRange::between(zero, zero)), 2);
            let above = ScoreRange::ALL.with_min(ScoreBound::Excluded(zero));
            assert_eq!(names(&set.by_score(&above)), ["d"]);
        }
    }

    #[test]
    fn every_pair_of_bounds_agrees_with_the_definition() {
        let scores = [
            f64::NEG_INFINITY,
            -1.0,
            -f64::MIN_POSITIVE,
            0.0,
            f64::MIN_POSITIVE,
            1.0,
            f64::INFINITY,
        ];
        let mut set = SortedSet::default();
        for (number, score) in scores.iter().enumerate() {
            set.insert(Bytes::from(vec![u8::try_from(number).expect("few")]), *score);
        }
        let ends = scores.iter().flat_map(|score| {
            [
                ScoreBound::Unbounded,
                ScoreBound::Included(*score),
                ScoreBound::Excluded(*score),
            ]
        });
        for min in ends.clone() {
            for max in ends.clone() {
                let range = ScoreRange::ALL.with_min(min).with_max(max);
                let expected: Vec<_> = scores.iter().copied().filter(|s| range.contains(*s)).collect();
                let found: Vec<_> = set.by_score(&range).iter().map(|s| s.score).collect();
                assert_eq!(found, expected, "{min:?} to {max:?}");
            }
        }
    }

    #[test]
    fn a_rank_range_is_the_same_from_either_end() {
        let mut set = SortedSet::default();
        for number in 0..20_u8 {
            set.insert(Bytes::from(vec![number]), f64::from(number));
        }
        for start in -22..22 {
            for stop in -22..22 {
                for order in [Order::Ascending, Order::Descending] {
                    let mut range = RankRange::new(start, stop);
                    range.order = order;
                    let mut all: Vec<u8> = (0..20).collect();
                    if order == Order::Descending {
                        all.reverse();
                    }
                    let expected = range.positions(20).map(|r| all[r].to_vec()).unwrap_or_default();
                    let found: Vec<u8> = set.by_rank(range).iter().map(|s| s.member[0]).collect();
                    assert_eq!(found, expected, "{range:?}");
                }
            }
        }
    }

    #[test]
    fn its_size_returns_to_nothing() {
        let mut set = set(&[("a", 1.0), ("b", 2.0)]);
        set.insert(Bytes::from_static(b"a"), 3.0);
        assert_eq!(set.bytes, 2 + 2 * SortedSet::MEMBER_BYTES);
        set.remove(&Bytes::from_static(b"a"));
        set.remove(&Bytes::from_static(b"b"));
        assert_eq!((set.bytes, set.len()), (0, 0));
    }
}
