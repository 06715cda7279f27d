//! Collecting the hits of one page: the order, the ties by id, and where the page before ended.
//!
//! Inside a segment documents compare by numbers only: a number or a score as an order-preserving `u64`, a keyword and
//! an id by their ordinals in the segment's dictionary. Across segments the strings decide.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Bound;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, StrColumn};
use tantivy::{DocAddress, DocId, Score, SegmentOrdinal, SegmentReader, TantivyError};

use crate::schema::ID;

/// What hits are ordered by, with tantivy's name of the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Score { descending: bool },
    Integer { column: String, descending: bool },
    Float { column: String, descending: bool },
    Keyword { column: String, descending: bool },
}

impl Order {
    fn descending(&self) -> bool {
        match self {
            Self::Score { descending }
            | Self::Integer { descending, .. }
            | Self::Float { descending, .. }
            | Self::Keyword { descending, .. } => *descending,
        }
    }
}

/// What a document is ordered by. Documents without a value come last, in either direction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A score or number as an order-preserving `u64`.
    Number(u64),
    Keyword(String),
    Missing,
}

/// The place of a hit in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) key: Key,
    pub(crate) id: String,
}

impl Place {
    fn compare(&self, other: &Self, descending: bool) -> Ordering {
        let by_key = match (&self.key, &other.key) {
            (Key::Missing, Key::Missing) => Ordering::Equal,
            (Key::Missing, _) => Ordering::Greater,
            (_, Key::Missing) => Ordering::Less,
            (a, b) if descending => b.cmp(a),
            (a, b) => a.cmp(b),
        };
        by_key.then_with(|| self.id.cmp(&other.id))
    }
}

/// A hit before its body is read.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) score: Score,
    pub(crate) address: DocAddress,
}

/// Counts all matches and keeps the first `limit` after a place.
#[derive(Debug)]
pub(crate) struct PageCollector {
    pub(crate) order: Order,
    pub(crate) limit: usize,
    pub(crate) after: Option<Place>,
}

/// How many documents match, and the first of them.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    pub(crate) total: u64,
    pub(crate) found: Vec<Found>,
}

impl Collector for PageCollector {
    type Fruit = Collected;
    type Child = SegmentPage;

    fn for_segment(&self, ordinal: SegmentOrdinal, segment: &SegmentReader) -> tantivy::Result<SegmentPage> {
        let columns = segment.fast_fields();
        let ids = columns
            .str(ID)?
            .ok_or_else(|| TantivyError::SchemaError("the column of ids is missing".into()))?;
        let keys = match &self.order {
            Order::Score { .. } => Keys::Score,
            Order::Integer { column, .. } => Keys::Number(columns.i64(column)?.to_u64_monotonic()),
            Order::Float { column, .. } => Keys::Number(columns.f64(column)?.to_u64_monotonic()),
            Order::Keyword { column, .. } => columns.str(column)?.map_or(Keys::None, Keys::Keyword),
        };
        let descending = self.order.descending();
        let from = match &self.after {
            None => Rank::default(),
            Some(place) => first_after(place, &keys, &ids, descending)?,
        };
        Ok(SegmentPage {
            ordinal,
            ids,
            keys,
            descending,
            from,
            limit: self.limit,
            total: 0,
            heap: BinaryHeap::with_capacity(self.limit.min(1024)),
        })
    }

    fn requires_scoring(&self) -> bool {
        matches!(self.order, Order::Score { .. })
    }

    fn merge_fruits(&self, segments: Vec<tantivy::Result<Collected>>) -> tantivy::Result<Collected> {
        let mut all = Collected::default();
        for segment in segments {
            let segment = segment?;
            all.total += segment.total;
            all.found.extend(segment.found);
        }
        let descending = self.order.descending();
        all.found.sort_by(|a, b| a.place.compare(&b.place, descending));
        all.found.truncate(self.limit);
        Ok(all)
    }
}

/// Where the keys of a segment come from.
enum Keys {
    Score,
    Number(Column<u64>),
    Keyword(StrColumn),
    /// No document of the segment has the field.
    None,
}

/// The place of a document among those of its segment; smaller comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Rank {
    missing: bool,
    key: u64,
    id: u64,
}

/// Where the documents after a place begin in this segment.
fn first_after(place: &Place, keys: &Keys, ids: &StrColumn, descending: bool) -> tantivy::Result<Rank> {
    let (id, id_exact) = ordinal_or_next(ids, &place.id)?;
    let id = id + u64::from(id_exact);
    let missing = Rank {
        missing: true,
        key: 0,
        id: 0,
    };
    let ranked = |key: u64| if descending { u64::MAX - key } else { key };
    Ok(match (&place.key, keys) {
        (Key::Missing, _) => Rank { id, ..missing },
        (Key::Number(number), _) => Rank {
            missing: false,
            key: ranked(*number),
            id,
        },
        (Key::Keyword(keyword), Keys::Keyword(column)) => {
            let (ordinal, exact) = ordinal_or_next(column, keyword)?;
            match (exact, descending) {
                (true, _) => Rank {
                    missing: false,
                    key: ranked(ordinal),
                    id,
                },
                (false, false) => Rank {
                    missing: false,
                    key: ordinal,
                    id: 0,
                },
                // The next smaller keyword of this segment, if there is one.
                (false, true) => ordinal.checked_sub(1).map_or(missing, |below| Rank {
                    missing: false,
                    key: u64::MAX - below,
                    id: 0,
                }),
            }
        }
        (Key::Keyword(_), _) => missing,
    })
}

/// The ordinal of a string, or of the first one after it, and whether it was the string itself.
fn ordinal_or_next(column: &StrColumn, text: &str) -> tantivy::Result<(u64, bool)> {
    let dictionary = column.dictionary();
    if let Some(ordinal) = dictionary.term_ord(text.as_bytes())? {
        return Ok((ordinal, true));
    }
    let (lower, _) = dictionary.term_bounds_to_ord(Bound::Included(text.as_bytes()), Bound::Unbounded)?;
    Ok(match lower {
        Bound::Included(ordinal) | Bound::Excluded(ordinal) => (ordinal, false),
        Bound::Unbounded => (dictionary.num_terms() as u64, false),
    })
}

/// The page of one segment.
pub(crate) struct SegmentPage {
    ordinal: SegmentOrdinal,
    ids: StrColumn,
    keys: Keys,
    descending: bool,
    from: Rank,
    limit: usize,
    total: u64,
    /// The last of the page on top.
    heap: BinaryHeap<(Rank, DocId, ScoreBits)>,
}

/// A score that can stand in an ordered tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ScoreBits(u32);

impl SegmentPage {
    fn key(&self, doc: DocId, score: Score) -> Option<u64> {
        let key = match &self.keys {
            Keys::Score => Some(monotonic(score)),
            Keys::None => None,
            Keys::Number(column) => self.pick(column, doc),
            Keys::Keyword(column) => self.pick(column.ords(), doc),
        };
        key.map(|key| if self.descending { u64::MAX - key } else { key })
    }

    /// Of several values the one that comes first in the order.
    fn pick(&self, column: &Column<u64>, doc: DocId) -> Option<u64> {
        let values = column.values_for_doc(doc);
        if self.descending {
            values.max()
        } else {
            values.min()
        }
    }

    fn place(&self, rank: Rank) -> tantivy::Result<Place> {
        let mut id = String::new();
        self.ids.ord_to_str(rank.id, &mut id)?;
        let key = if self.descending {
            u64::MAX - rank.key
        } else {
            rank.key
        };
        let key = match &self.keys {
            _ if rank.missing => Key::Missing,
            Keys::Keyword(column) => {
                let mut keyword = String::new();
                column.ord_to_str(key, &mut keyword)?;
                Key::Keyword(keyword)
            }
            _ => Key::Number(key),
        };
        Ok(Place { key, id })
    }
}

impl SegmentCollector for SegmentPage {
    type Fruit = tantivy::Result<Collected>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.total += 1;
        let key = self.key(doc, score);
        let rank = Rank {
            missing: key.is_none(),
            key: key.unwrap_or(0),
            id: self.ids.ords().first(doc).unwrap_or(u64::MAX),
        };
        if rank < self.from {
            return;
        }
        if self.heap.len() >= self.limit {
            match self.heap.peek() {
                Some((last, _, _)) if rank < *last => {
                    self.heap.pop();
                }
                _ => return,
            }
        }
        self.heap.push((rank, doc, ScoreBits(score.to_bits())));
    }

    fn harvest(mut self) -> Self::Fruit {
        let heap = std::mem::take(&mut self.heap);
        let found = heap
            .into_iter()
            .map(|(rank, doc, score)| {
                Ok(Found {
                    place: self.place(rank)?,
                    score: Score::from_bits(score.0),
                    address: DocAddress::new(self.ordinal, doc),
                })
            })
            .collect::<tantivy::Result<_>>()?;
        Ok(Collected {
            total: self.total,
            found,
        })
    }
}

/// A score as an integer of the same order.
fn monotonic(score: Score) -> u64 {
    let bits = score.to_bits();
    let ordered = if bits >> 31 == 0 { bits | 1 << 31 } else { !bits };
    u64::from(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_their_order_as_integers() {
        let scores = [-1.5f32, -0.1, 0.0, 0.25, 1.0, 1e30];
        assert!(
            scores
                .windows(2)
                .all(|pair| monotonic(pair[0]) < monotonic(pair[1]))
        );
    }

    #[test]
    fn missing_comes_last_either_way() {
        let place = |key, id: &str| Place { key, id: id.into() };
        for descending in [false, true] {
            let number = place(Key::Number(1), "b");
            let missing = place(Key::Missing, "a");
            assert_eq!(number.compare(&missing, descending), Ordering::Less);
            assert_eq!(missing.compare(&number, descending), Ordering::Greater);
        }
        assert_eq!(
            place(Key::Number(1), "a").compare(&place(Key::Number(1), "b"), true),
            Ordering::Less
        );
    }
}
