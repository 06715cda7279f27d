//! Rebalances: letting go of partitions in good order.

use std::collections::HashSet;

use tokio::time::Instant;

use super::dispatcher::{Dispatcher, GRACE, Job, Running};
use super::lanes::{Held, Place};
use super::settler::Told;
use super::source::Revocation;

/// A revocation that is under way.
#[derive(Debug)]
pub(super) struct Revoking {
    places: HashSet<Place>,
    notice: Revocation,
    /// Its handlers were stopped.
    cut: bool,
    /// What the broker must have been told before it is complete; known once no handler runs.
    awaits: Option<Told>,
}

impl Revoking {
    /// When something has to be done about it.
    pub(super) fn alarm(&self) -> Instant {
        let deadline = self.notice.deadline();
        if self.cut { deadline + GRACE } else { deadline }
    }
}

impl Dispatcher {
    /// The broker takes partitions away: what no handler has yet goes back at once.
    pub(super) fn revoke(&mut self, notice: Revocation) {
        let mut places = HashSet::new();
        for partition in notice.partitions() {
            let topic = self.topic(&partition.topic);
            places.insert(Place {
                topic,
                partition: partition.partition,
            });
        }
        let leaves = |held: &Held| held.place().is_some_and(|place| places.contains(&place));
        let mut back = self.lanes.remove(leaves);
        back.extend(
            self.waiting
                .extract_if(.., |_, held| leaves(held))
                .map(|(_, held)| held),
        );
        // A pause of one of them is taken back too, because nothing of it waits any more: it may come back one day.
        back.iter().for_each(|held| self.give_back(held));
        tracing::debug!(
            partitions = places.len(),
            "partitions are taken away from this member"
        );
        self.revoking.push(Revoking {
            places,
            notice,
            cut: false,
            awaits: None,
        });
    }

    /// Completes revocations whose handlers have ended and whose settlements are stored.
    pub(super) fn advance_revocations(&mut self, now: Instant) {
        for mut revoking in std::mem::take(&mut self.revoking) {
            let overdue = revoking.notice.deadline() <= now;
            let mut busy = false;
            for running in self.running.values() {
                if occupies(running, &revoking.places) {
                    busy = true;
                    if overdue {
                        running.abort.abort();
                    }
                }
            }
            revoking.cut |= overdue;
            if !busy && revoking.awaits.is_none() {
                self.settler.hurry(now);
                revoking.awaits = Some(self.settler.so_far());
            }
            let told = revoking
                .awaits
                .is_some_and(|awaited| self.settler.is_told(awaited));
            if told || revoking.notice.deadline() + GRACE <= now {
                self.settler.forget(|place| revoking.places.contains(&place));
                revoking.notice.complete();
            } else {
                self.revoking.push(revoking);
            }
        }
    }

    /// Whether a message belongs to a partition that is being taken away.
    pub(super) fn is_revoked(&self, held: &Held) -> bool {
        held.place().is_some_and(|place| {
            self.revoking
                .iter()
                .any(|revoking| revoking.places.contains(&place))
        })
    }
}

fn occupies(running: &Running, places: &HashSet<Place>) -> bool {
    let at = |topic, partition: Option<u32>| {
        partition.is_some_and(|partition| places.contains(&Place { topic, partition }))
    };
    match &running.job {
        Job::Handling { deliveries, held, .. } => deliveries
            .iter()
            .zip(held)
            .any(|(delivery, ticket)| at(ticket.topic, delivery.partition)),
        Job::Storing(held) => at(held.topic, held.delivery.partition),
    }
}
