//! How far a partition is settled: the position up to which nothing is unfinished.

use std::collections::BTreeSet;

/// Tracks one partition of a log: which delivered offsets are unfinished, and up to where an offset may be committed.
///
/// Offsets are delivered in rising order and may have gaps (compaction, transaction markers). The state is as large as
/// the number of unfinished messages.
///
/// ```
/// use infra_core::queue::runtime::Watermark;
///
/// let mut watermark = Watermark::new();
/// for offset in [10, 11, 13] {
///     watermark.delivered(offset);
/// }
/// watermark.finished(11);
/// assert_eq!(watermark.committable(), None, "10 is unfinished");
/// watermark.finished(10);
/// assert_eq!(watermark.committable(), Some(13), "the next message to be read is 13");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Watermark {
    unfinished: BTreeSet<u64>,
    /// One more than the highest offset that was delivered.
    next: Option<u64>,
    committed: Option<u64>,
}

impl Watermark {
    /// Nothing delivered yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that a message was delivered. A second delivery of a finished offset makes it unfinished again, but takes
    /// back nothing that was committed.
    pub fn delivered(&mut self, offset: u64) {
        if self.next.is_none() {
            // What lies before the first delivery was somebody else's; committing it again says nothing new.
            self.committed = Some(offset);
        }
        self.unfinished.insert(offset);
        let after = offset.saturating_add(1);
        self.next = Some(self.next.map_or(after, |next| next.max(after)));
    }

    /// Notes that a message is done with; unknown offsets are ignored.
    pub fn finished(&mut self, offset: u64) {
        self.unfinished.remove(&offset);
    }

    /// The position from which reading may resume, if it has moved since the last [`Watermark::committed`].
    #[must_use]
    pub fn committable(&self) -> Option<u64> {
        let position = self.unfinished.first().copied().or(self.next)?;
        match self.committed {
            Some(committed) if position <= committed => None,
            _ => Some(position),
        }
    }

    /// Notes that the broker has stored a position; it never moves back.
    pub fn committed(&mut self, position: u64) {
        self.committed = Some(
            self.committed
                .map_or(position, |committed| committed.max(position)),
        );
    }

    /// The number of messages that are delivered and not finished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.unfinished.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_committed_before_anything_is_delivered() {
        let mut watermark = Watermark::new();
        assert_eq!(watermark.committable(), None);
        watermark.finished(7);
        assert_eq!(watermark.committable(), None);
    }

    #[test]
    fn a_redelivery_does_not_move_a_committed_position_back() {
        let mut watermark = Watermark::new();
        watermark.delivered(0);
        watermark.finished(0);
        watermark.committed(1);
        watermark.delivered(0);
        assert_eq!(watermark.committable(), None);
        watermark.finished(0);
        watermark.delivered(1);
        watermark.finished(1);
        assert_eq!(watermark.committable(), Some(2));
    }

    proptest! {
        /// Against a plain model: the set of delivered and of finished offsets.
        #[test]
        fn never_commits_past_an_unfinished_message(
            gaps in prop::collection::vec(1_u64..4, 1..60),
            finishing in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..120),
        ) {
            let offsets: Vec<u64> = gaps
                .iter()
                .scan(0, |at, gap| { *at += gap; Some(*at) })
                .collect();
            let mut watermark = Watermark::new();
            let (mut delivered, mut finished) = (Vec::new(), BTreeSet::new());
            let mut upcoming = offsets.iter().copied();
            let mut last = 0;
            for (pick, commit) in finishing {
                if let Some(offset) = upcoming.next() {
                    watermark.delivered(offset);
                    delivered.push(offset);
                }
                let offset = delivered[pick.index(delivered.len())];
                watermark.finished(offset);
                finished.insert(offset);

                let expected = delivered.iter().find(|offset| !finished.contains(offset)).copied()
                    .unwrap_or(delivered[delivered.len() - 1] + 1);
                if let Some(position) = watermark.committable() {
                    prop_assert_eq!(position, expected);
                    prop_assert!(position > last);
                    if commit {
                        watermark.committed(position);
                        last = position;
                    }
                } else {
                    prop_assert!(expected <= last.max(delivered[0]));
                }
                prop_assert_eq!(watermark.unfinished(), delivered.len() - finished.len());
            }
        }
    }
}
