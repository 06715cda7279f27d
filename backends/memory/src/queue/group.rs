//! A consumer group of one topic: its position in each partition, its members, and who has which partition. No locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A member's identity, unique in the queue.
pub(super) type MemberId = u64;

/// A member of a group.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: MemberId,
    /// Tells it that there may be something to receive.
    pub(super) wake: Arc<Notify>,
    /// Tells it that partitions are taken away.
    pub(super) revoked: Arc<Notify>,
    /// Whether it was put out of all its groups and has not noticed yet.
    pub(super) lost: Arc<AtomicBool>,
}

/// Where a message is that was delivered and not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// With the partition's owner.
    Out,
    /// Back, to be delivered at once.
    Back,
    /// Back, to be delivered when it is due.
    Waiting(Instant),
}

/// A message that was delivered and not settled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unsettled {
    pub(super) attempts: u32,
    pub(super) whereabouts: Whereabouts,
    /// It is going to be delivered once more although it is settled: a fault that was asked for.
    pub(super) duplicate: bool,
}

/// A group's state in one partition.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) owner: Option<MemberId>,
    /// The member that gets it when the owner has let go.
    pub(super) heir: Option<MemberId>,
    /// The owner was told to let go; nothing is delivered until it has.
    pub(super) moving: bool,
    /// The owner has to be told.
    pub(super) to_announce: bool,
    /// The offset of the next message that was never delivered.
    pub(super) next: u64,
    /// Messages that are not settled, delivered or not.
    pub(super) pending: u64,
    pub(super) unsettled: BTreeMap<u64, Unsettled>,
    pub(super) back: BTreeSet<u64>,
    pub(super) waiting: BTreeSet<(Instant, u64)>,
}

impl Progress {
    /// Whether the owner holds messages.
    pub(super) fn is_out(&self) -> bool {
        // What is back or waits is in the two indices; the rest is out.
        self.unsettled.len() > self.back.len() + self.waiting.len()
    }

    /// Moves messages whose time has come from waiting to back.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some((due, offset)) = self.waiting.first().copied()
            && due <= now
        {
            self.waiting.pop_first();
            if let Some(unsettled) = self.unsettled.get_mut(&offset) {
                unsettled.whereabouts = Whereabouts::Back;
                self.back.insert(offset);
            }
        }
    }

    /// Puts everything that is out back.
    pub(super) fn take_back_all(&mut self) {
        for (offset, unsettled) in &mut self.unsettled {
            if unsettled.whereabouts == Whereabouts::Out {
                unsettled.whereabouts = Whereabouts::Back;
                self.back.insert(*offset);
            }
        }
    }

    /// Gives the partition to its heir, with everything that is out.
    pub(super) fn hand_over(&mut self) {
        self.take_back_all();
        if let Some(heir) = self.heir.take() {
            self.owner = Some(heir);
        }
        self.moving = false;
        self.to_announce = false;
    }
}

/// A consumer group of one topic.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    pub(super) partitions: Vec<Progress>,
}

impl Group {
    /// Adds a member and shares the partitions anew.
    pub(super) fn join(&mut self, member: Member) {
        self.members.push(member);
        self.rebalance();
    }

    /// Removes a member: what it held goes back, its partitions go to the others. Unknown members are ignored.
    pub(super) fn leave(&mut self, id: MemberId) {
        self.members.retain(|member| member.id != id);
        for progress in &mut self.partitions {
            if progress.heir == Some(id) {
                progress.heir = None;
            }
            if progress.owner == Some(id) {
                progress.owner = None;
                progress.hand_over();
            }
        }
        self.rebalance();
    }

    /// Removes all members: what they held goes back, and nobody has the partitions until somebody joins.
    pub(super) fn expel_all(&mut self) -> Vec<Member> {
        for progress in &mut self.partitions {
            progress.heir = None;
            progress.owner = None;
            progress.hand_over();
        }
        std::mem::take(&mut self.members)
    }

    /// The owner lets go of a partition that it was told to.
    pub(super) fn let_go(&mut self, partition: usize, id: MemberId) {
        let Some(progress) = self.partitions.get_mut(partition) else {
            return;
        };
        if progress.owner == Some(id) && progress.moving {
            progress.hand_over();
            self.wake_owner(partition);
        }
    }

    /// Whether any member is there to read.
    pub(super) fn is_live(&self) -> bool {
        !self.members.is_empty()
    }

    pub(super) fn wake_owner(&self, partition: usize) {
        let owner = self.partitions.get(partition).and_then(|progress| progress.owner);
        if let Some(member) = self.members.iter().find(|member| Some(member.id) == owner) {
            member.wake.notify_one();
        }
    }

    /// Gives every member an equal share, moving as few partitions as possible.
    fn rebalance(&mut self) {
        let members: Vec<MemberId> = self.members.iter().map(|member| member.id).collect();
        if members.is_empty() {
            return;
        }
        let mut shares = vec![Vec::new(); members.len()];
        let mut free = Vec::new();
        for (partition, progress) in self.partitions.iter().enumerate() {
            let holder = progress.heir.or(progress.owner);
            match members.iter().position(|id| Some(*id) == holder) {
                Some(member) => shares[member].push(partition),
                None => free.push(partition),
            }
        }
        let (least, extra) = (
            self.partitions.len() / members.len(),
            self.partitions.len() % members.len(),
        );
        // The members that have most keep the partitions that do not divide evenly.
        let mut ranking: Vec<usize> = (0..members.len()).collect();
        ranking.sort_by_key(|member| std::cmp::Reverse(shares[*member].len()));
        let quota = |rank: usize| least + usize::from(rank < extra);
        for (rank, member) in ranking.iter().enumerate() {
            let keep = quota(rank).min(shares[*member].len());
            free.extend(shares[*member].split_off(keep));
        }
        for (rank, member) in ranking.into_iter().enumerate() {
            let missing = quota(rank).saturating_sub(shares[member].len());
            let taken = free.split_off(free.len().saturating_sub(missing));
            shares[member].extend(taken);
        }
        for (id, share) in members.into_iter().zip(shares) {
            for partition in share {
                self.assign(partition, id);
            }
        }
        for member in &self.members {
            member.wake.notify_one();
            member.revoked.notify_one();
        }
    }

    fn assign(&mut self, partition: usize, id: MemberId) {
        let Some(progress) = self.partitions.get_mut(partition) else {
            return;
        };
        match progress.owner {
            None => {
                progress.owner = Some(id);
                progress.heir = None;
            }
            // It stays, or comes back before it was let go of.
            Some(owner) if owner == id => {
                progress.heir = None;
                if progress.to_announce {
                    progress.to_announce = false;
                    progress.moving = false;
                }
            }
            Some(_) => {
                progress.heir = Some(id);
                if !progress.moving {
                    if progress.is_out() {
                        progress.moving = true;
                        progress.to_announce = true;
                    } else {
                        progress.hand_over();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(partitions: usize) -> Group {
        Group {
            members: Vec::new(),
            partitions: (0..partitions).map(|_| Progress::default()).collect(),
        }
    }

    fn member(id: MemberId) -> Member {
        Member {
            id,
            wake: Arc::default(),
            revoked: Arc::default(),
            lost: Arc::default(),
        }
    }

    fn owners(group: &Group) -> Vec<Option<MemberId>> {
        group.partitions.iter().map(|progress| progress.owner).collect()
    }

    #[test]
    fn members_share_evenly_and_little_moves() {
        let mut group = group(8);
        group.join(member(1));
        assert!(owners(&group).iter().all(|owner| *owner == Some(1)));
        for (id, most_moved) in [(2, 4), (3, 3)] {
            let before = owners(&group);
            group.join(member(id));
            let after = owners(&group);
            let moved = before.iter().zip(&after).filter(|(b, a)| b != a).count();
            assert!(moved <= most_moved, "{before:?} -> {after:?}");
            let largest = (1..=id).map(|id| after.iter().filter(|owner| **owner == Some(id)).count());
            let (min, max) = (largest.clone().min(), largest.max());
            assert!(max.unwrap_or(9) - min.unwrap_or(0) <= 1, "{after:?}");
        }
        group.leave(2);
        group.leave(1);
        assert!(owners(&group).iter().all(|owner| *owner == Some(3)));
        group.leave(3);
        assert!(owners(&group).iter().all(Option::is_none));
    }

    #[test]
    fn a_partition_with_messages_out_moves_only_when_it_is_let_go() {
        let mut group = group(1);
        group.join(member(1));
        let out = Unsettled {
            attempts: 1,
            whereabouts: Whereabouts::Out,
            duplicate: false,
        };
        group.partitions[0].unsettled.insert(0, out);
        group.join(member(2));
        assert_eq!(
            group.partitions[0].owner,
            Some(1),
            "one partition: the first keeps it"
        );
        group.partitions[0].heir = Some(2);
        group.partitions[0].moving = true;
        group.let_go(0, 2);
        assert_eq!(group.partitions[0].owner, Some(1), "only the owner lets go");
        group.let_go(0, 1);
        assert_eq!(group.partitions[0].owner, Some(2));
        assert!(group.partitions[0].back.contains(&0), "what was out is back");
    }
}
