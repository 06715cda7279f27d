//! Sorted sets.

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::cache::{RankRange, ScoreBound, ScoreRange, Scored, SortedSets};
use infra_core::{Error, Result};

use super::sorted_set::SortedSet;
use super::store::Slot;
use super::{MemoryCache, run};

#[async_trait]
impl SortedSets for MemoryCache {
    async fn sorted_add(&self, key: &str, members: &[Scored]) -> Result<u64> {
        run("sorted_add", || {
            let key = self.key(key)?;
            self.check_scored(members)?;
            add(&self.reached()?.slot(&key), members, |_, _| {})
        })
    }

    async fn sorted_range(&self, key: &str, range: RankRange) -> Result<Vec<Scored>> {
        run("sorted_range", || {
            let key = self.key(key)?;
            let found = self.reached()?.look(&key, |set: &SortedSet| set.by_rank(range));
            Ok(found?.unwrap_or_default())
        })
    }

    async fn sorted_range_by_score(&self, key: &str, range: ScoreRange) -> Result<Vec<Scored>> {
        run("sorted_range_by_score", || {
            let key = self.key(key)?;
            check_bounds(&range)?;
            let found = self.reached()?.look(&key, |set: &SortedSet| set.by_score(&range));
            Ok(found?.unwrap_or_default())
        })
    }

    async fn sorted_remove(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        run("sorted_remove", || {
            let key = self.key(key)?;
            self.reached()?.slot(&key).change(0, |set: &mut SortedSet| {
                let there = members.iter().filter(|member| set.remove(member).is_some());
                Ok(there.count() as u64)
            })
        })
    }

    async fn sorted_remove_by_rank(&self, key: &str, range: RankRange) -> Result<u64> {
        run("sorted_remove_by_rank", || {
            let key = self.key(key)?;
            remove_by_rank(&self.reached()?.slot(&key), range, |_| {})
        })
    }

    async fn sorted_len(&self, key: &str) -> Result<u64> {
        run("sorted_len", || {
            let key = self.key(key)?;
            let found = self.reached()?.look(&key, SortedSet::len);
            Ok(found?.unwrap_or(0) as u64)
        })
    }

    async fn sorted_count(&self, key: &str, range: ScoreRange) -> Result<u64> {
        run("sorted_count", || {
            let key = self.key(key)?;
            check_bounds(&range)?;
            let found = self.reached()?.look(&key, |set: &SortedSet| set.count(&range));
            Ok(found?.unwrap_or(0) as u64)
        })
    }

    async fn sorted_score(&self, key: &str, member: Bytes) -> Result<Option<f64>> {
        run("sorted_score", || {
            let key = self.key(key)?;
            let found = self.reached()?.look(&key, |set: &SortedSet| set.score(&member));
            Ok(found?.flatten())
        })
    }
}

impl MemoryCache {
    pub(super) fn check_scored(&self, members: &[Scored]) -> Result<()> {
        if members.iter().any(|scored| scored.score.is_nan()) {
            return Err(Error::invalid_argument(
                "a score is not a number; members are ordered by their scores, so each needs one",
            ));
        }
        self.check_members(members.iter().map(|scored| &scored.member))
    }
}

fn check_bounds(range: &ScoreRange) -> Result<()> {
    let is_nan = |bound| match bound {
        ScoreBound::Unbounded => false,
        ScoreBound::Included(score) | ScoreBound::Excluded(score) => score.is_nan(),
    };
    if is_nan(range.min) || is_nan(range.max) {
        return Err(Error::invalid_argument(
            "a bound of the range is not a number; leave it unbounded instead",
        ));
    }
    Ok(())
}

/// Adds members, tells `changed` the score that each had before, and returns how many are new.
pub(super) fn add(
    slot: &Slot<'_>,
    members: &[Scored],
    mut changed: impl FnMut(&Bytes, Option<f64>),
) -> Result<u64> {
    let growth = members
        .iter()
        .map(|scored| scored.member.len() + SortedSet::MEMBER_BYTES)
        .sum();
    slot.change(growth, |set: &mut SortedSet| {
        let mut new = 0;
        for scored in members {
            let before = set.insert(scored.member.clone(), scored.score);
            new += u64::from(before.is_none());
            changed(&scored.member, before);
        }
        Ok(new)
    })
}

/// Removes members by rank, tells `changed` of each, and returns how many they are.
pub(super) fn remove_by_rank(
    slot: &Slot<'_>,
    range: RankRange,
    mut changed: impl FnMut(&Scored),
) -> Result<u64> {
    slot.change(0, |set: &mut SortedSet| {
        let removed = set.by_rank(range);
        for scored in &removed {
            set.remove(&scored.member);
            changed(scored);
        }
        Ok(removed.len() as u64)
    })
}
