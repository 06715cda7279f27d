//! Sets.

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::Result;
use infra_core::cache::Sets;

use super::store::Slot;
use super::value::Set;
use super::{MemoryCache, run};

#[async_trait]
impl Sets for MemoryCache {
    async fn set_add(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        run("set_add", || {
            let key = self.key(key)?;
            self.check_members(members.iter())?;
            add(&self.reached()?.slot(&key), members, |_| {})
        })
    }

    async fn set_remove(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        run("set_remove", || {
            let key = self.key(key)?;
            remove(&self.reached()?.slot(&key), members, |_| {})
        })
    }

    async fn set_members(&self, key: &str) -> Result<Vec<Bytes>> {
        run("set_members", || {
            let key = self.key(key)?;
            let found = self
                .reached()?
                .look(&key, |set: &Set| set.members().iter().cloned().collect());
            Ok(found?.unwrap_or_default())
        })
    }

    async fn set_contains(&self, key: &str, member: Bytes) -> Result<bool> {
        run("set_contains", || {
            let key = self.key(key)?;
            let found = self
                .reached()?
                .look(&key, |set: &Set| set.members().contains(&member));
            Ok(found?.unwrap_or(false))
        })
    }

    async fn set_len(&self, key: &str) -> Result<u64> {
        run("set_len", || {
            let key = self.key(key)?;
            let found = self.reached()?.look(&key, Set::len);
            Ok(found?.unwrap_or(0) as u64)
        })
    }
}

impl MemoryCache {
    pub(super) fn check_members<'m>(&self, mut members: impl Iterator<Item = &'m Bytes>) -> Result<()> {
        members.try_for_each(|member| self.limits().check_value("member", member.len()))
    }
}

/// Adds members, tells `changed` of those that are new, and returns how many they are.
pub(super) fn add(slot: &Slot<'_>, members: &[Bytes], mut changed: impl FnMut(&Bytes)) -> Result<u64> {
    let growth = members
        .iter()
        .map(|member| member.len() + Set::MEMBER_BYTES)
        .sum();
    slot.change(growth, |set: &mut Set| {
        let new = members.iter().filter(|member| {
            let new = set.insert((*member).clone());
            if new {
                changed(member);
            }
            new
        });
        Ok(new.count() as u64)
    })
}

/// Removes members, tells `changed` of those that were there, and returns how many they are.
pub(super) fn remove(slot: &Slot<'_>, members: &[Bytes], mut changed: impl FnMut(&Bytes)) -> Result<u64> {
    slot.change(0, |set: &mut Set| {
        let there = members.iter().filter(|member| {
            let there = set.remove(member);
            if there {
                changed(member);
            }
            there
        });
        Ok(there.count() as u64)
    })
}
