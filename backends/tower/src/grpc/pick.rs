//! Who takes the next request: a weighted draw of two, and of those the one with less to do. Plain data, no I/O.

use std::sync::Arc;

use super::connection::Connection;

/// The instances that may be picked, with their weights. Never changed, only replaced.
#[derive(Debug, Default)]
pub(super) struct Weighted {
    entries: Vec<Entry>,
    /// The sum of all weights.
    total: u64,
}

#[derive(Debug)]
struct Entry {
    connection: Arc<Connection>,
    weight: u32,
    /// The sum of the weights up to and including this one.
    up_to: u64,
}

impl Weighted {
    /// Makes the choice among `instances`; those of weight zero are never drawn.
    pub(super) fn new(instances: impl IntoIterator<Item = (Arc<Connection>, u32)>) -> Self {
        let mut total = 0;
        let entries = instances
            .into_iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(connection, weight)| {
                total += u64::from(weight);
                Entry {
                    connection,
                    weight,
                    up_to: total,
                }
            })
            .collect();
        Self { entries, total }
    }

    /// Draws two by weight and takes the one with fewer unanswered requests for its weight.
    ///
    /// While nothing is unanswered that is a plain weighted draw; under load it leads away from the slow ones, and needs no
    /// state shared by all requests.
    pub(super) fn pick(&self) -> Option<&Arc<Connection>> {
        let (place, first) = self.draw()?;
        let second = match self.draw()? {
            // The same again: compared with its neighbour, so that of two instances the idle one is always seen.
            (again, _) if again == place => self.entries.get((place + 1) % self.entries.len())?,
            (_, second) => second,
        };
        let burden = |of: &Entry, against: &Entry| of.connection.unanswered() * u64::from(against.weight);
        let picked = if burden(second, first) < burden(first, second) {
            second
        } else {
            first
        };
        Some(&picked.connection)
    }

    fn draw(&self) -> Option<(usize, &Entry)> {
        if self.total == 0 {
            return None;
        }
        let ticket = fastrand::u64(0..self.total);
        let place = self.entries.partition_point(|entry| entry.up_to <= ticket);
        Some((place, self.entries.get(place)?))
    }
}
