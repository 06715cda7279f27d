//! Sets that are broken on purpose.

use std::sync::Arc;

use bytes::Bytes;
use infra_core::cache::Sets;
use infra_core::{Result, async_trait};
use infra_memory::MemoryCache;
use infra_testkit::conformance::{self, Breakage, prove};

use super::client::{Client, Member, trimmed};
use super::{Defect, broken};

pub(crate) const FAMILY: &str = "sets";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::sets::SCENARIOS,
        &[
            set("SET-001", Defect::AbsentIsAnError, "says not found where no set is"),
            set("SET-002", Defect::KeepsText, "keeps members as text"),
            set("SET-003", Defect::CountsNamesake, "counts a member twice that is named twice"),
            set("SET-004", Defect::CountsWhatWasAsked, "counts what was to be removed, not what was"),
            set("SET-005", Defect::KeepsEmpty, "keeps a set without members"),
            set("SET-006", Defect::TrimsNames, "trims blanks at the end of members"),
            set("SET-007", Defect::FirstPageOnly, "returns the first page of members only"),
            set("SET-008", Defect::WritingClearsTheTime, "lets a set live for ever once a member is added"),
            set("SET-009", Defect::CountsWhatExpired, "counts members that expired"),
            set("SET-010", Defect::AnotherTypeIsEmpty, "takes a key of another type for an empty set"),
            set("SET-011", Defect::LooksThenAdds, "looks what is new, and then adds it"),
            set("SET-012", Defect::CountsOutsideOfItsScope, "counts without its scope"),
            set("SET-013", Defect::TakesItsKeysAlong, "deletes at shutdown what it wrote"),
            set("SET-014", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            set("SET-015", Defect::OffByOne, "refuses a member of the size that it declares"),
            set("SET-016", Defect::WritesUpToTheRefused, "adds the members before a refused one"),
            set("SET-017", Defect::ShowsMembers, "shows members in a conflict"),
            set("SET-018", Defect::CountsAfterShutdown, "goes on counting after shutdown"),
            set("SET-019", Defect::AwayIsEmpty, "counts nothing while the server is away"),
            set("SET-020", Defect::WritesOneByOne, "adds members one by one"),
        ],
    );
}

fn set(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Sets> {
    broken(breaks, defect, words, |client| client as Arc<dyn Sets>)
}

#[async_trait]
impl Member for Bytes {
    fn name(&self) -> Bytes {
        self.clone()
    }

    fn named(self, name: Bytes) -> Self {
        name
    }

    async fn add(cache: &MemoryCache, key: &str, members: &[Self]) -> Result<u64> {
        cache.set_add(key, members).await
    }

    async fn has(&self, cache: &MemoryCache, key: &str) -> Result<bool> {
        cache.set_contains(key, self.clone()).await
    }
}

impl Client {
    fn member(&self, member: &Bytes) -> Bytes {
        match self.defect {
            Defect::TrimsNames => trimmed(member),
            Defect::KeepsText => String::from_utf8_lossy(member).into_owned().into(),
            _ => member.clone(),
        }
    }
}

#[async_trait]
impl Sets for Client {
    async fn set_add(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        let members = members.iter().map(|member| self.member(member)).collect();
        self.adding(key, members).await
    }

    async fn set_remove(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        let removed: Vec<Bytes> = members.iter().map(|member| self.member(member)).collect();
        self.removing(key, members.len(), self.inner.set_remove(key, &removed))
            .await
    }

    async fn set_members(&self, key: &str) -> Result<Vec<Bytes>> {
        let members = self.inner.set_members(key).await?;
        Ok(self.paged(members).collect())
    }

    async fn set_contains(&self, key: &str, member: Bytes) -> Result<bool> {
        let contains = self.inner.set_contains(key, self.member(&member)).await?;
        self.must_be_there(key).await.map(|()| contains)
    }

    async fn set_len(&self, key: &str) -> Result<u64> {
        self.counting(key, |cache| async move { cache.set_len(key).await })
            .await
    }
}
