//! The client: what it does wrong with keys, and with members of any kind.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use infra_core::cache::{Keys, ScanPage};
use infra_core::capability::{Capabilities, Limits};
use infra_core::{Backend, Error, ErrorKind, Result, Ttl, async_trait};
use infra_memory::MemoryCache;

use super::Defect;

/// How many members a reply holds for a client that does not ask for the next one.
const PAGE: usize = 1_000;

/// A client that does one thing wrong.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) inner: MemoryCache,
    /// A connection without a scope that stays open when this client is shut down.
    pub(super) spare: MemoryCache,
    pub(super) defect: Defect,
    seen: Mutex<Seen>,
}

/// What a client remembers, for the defects that need it.
#[derive(Debug, Default)]
struct Seen {
    written: BTreeSet<String>,
    emptied: BTreeSet<String>,
    expiring: BTreeSet<String>,
    /// The capacities of filters, and how many items were added to each.
    filters: BTreeMap<String, (u64, u64)>,
    /// The filter and the item of the last addition.
    last: Option<(String, Bytes)>,
}

/// What is added to a hash, a set or a sorted set, as each of them takes it.
#[async_trait]
pub(super) trait Member: Clone + Send + Sync + 'static {
    /// What tells it from others.
    fn name(&self) -> Bytes;

    /// The same under another name.
    fn named(self, name: Bytes) -> Self;

    /// Whether it passes every check of what it is.
    fn is_acceptable(&self, limits: &Limits) -> bool {
        limits.check_value("member", self.name().len()).is_ok()
    }

    /// Adds members, and says how many are new.
    async fn add(cache: &MemoryCache, key: &str, members: &[Self]) -> Result<u64>;

    /// Whether there is one of this name.
    async fn has(&self, cache: &MemoryCache, key: &str) -> Result<bool>;
}

/// The name without blanks at its end.
pub(super) fn trimmed(name: &[u8]) -> Bytes {
    let blanks = name.iter().rev().take_while(|byte| **byte == b' ').count();
    Bytes::copy_from_slice(&name[..name.len() - blanks])
}

impl Client {
    pub(super) fn new(inner: MemoryCache, spare: MemoryCache, defect: Defect) -> Self {
        Self {
            inner,
            spare,
            defect,
            seen: Mutex::default(),
        }
    }

    pub(super) fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a filter that was reserved.
    pub(super) fn reserved(&self, key: &str, capacity: u64) {
        let mut seen = self.seen();
        seen.written.insert(key.to_owned());
        seen.filters.entry(key.to_owned()).or_insert((capacity, 0));
    }

    /// Counts one more item, and says whether the filter was full before.
    pub(super) fn is_full(&self, key: &str) -> bool {
        let mut seen = self.seen();
        seen.filters.get_mut(key).is_some_and(|(capacity, added)| {
            *added += 1;
            *added > *capacity
        })
    }

    /// Remembers an addition to a filter, and says whether the one before was the same.
    pub(super) fn repeats(&self, key: &str, item: &Bytes) -> bool {
        let this = Some((key.to_owned(), item.clone()));
        let mut seen = self.seen();
        let repeats = seen.last == this;
        seen.last = this;
        repeats
    }

    /// Whether a write of these members passes every check of its arguments.
    fn fits<M: Member>(&self, key: &str, members: &[M]) -> bool {
        let limits = self.capabilities().limits();
        limits.check_key("key", key).is_ok() && members.iter().all(|member| member.is_acceptable(limits))
    }

    /// Adds members with what the defect makes of it.
    pub(super) async fn adding<M: Member>(&self, key: &str, mut members: Vec<M>) -> Result<u64> {
        let limits = *self.capabilities().limits();
        self.seen().written.insert(key.to_owned());
        match self.defect {
            Defect::TrimsNames => {
                members = members
                    .into_iter()
                    .map(|member| {
                        let name = trimmed(&member.name());
                        member.named(name)
                    })
                    .collect();
            }
            Defect::OffByOne if members.iter().any(|m| m.name().len() == limits.max_value_bytes) => {
                return Err(Error::invalid_argument("the member is too large"));
            }
            Defect::WritesUpToTheRefused => {
                let fitting = |member: &&M| limits.check_value("member", member.name().len()).is_ok();
                let before: Vec<M> = members.iter().take_while(fitting).cloned().collect();
                if before.len() < members.len() && !before.is_empty() {
                    M::add(&self.inner, key, &before).await?;
                }
            }
            Defect::LooksThenAdds if self.fits(key, &members) => {
                return self.look_then_add(key, &members).await;
            }
            Defect::WritesOneByOne if self.fits(key, &members) && !members.is_empty() => {
                let mut new = 0;
                for member in &members {
                    new += M::add(&self.inner, key, std::slice::from_ref(member)).await?;
                    tokio::task::yield_now().await;
                }
                return Ok(new);
            }
            _ => {}
        }
        let added = M::add(&self.inner, key, &members).await;
        self.added(key, &members, added).await
    }

    async fn look_then_add<M: Member>(&self, key: &str, members: &[M]) -> Result<u64> {
        let mut new = BTreeSet::new();
        for member in members {
            if !member.has(&self.inner, key).await? {
                new.insert(member.name());
            }
        }
        tokio::task::yield_now().await;
        M::add(&self.inner, key, members).await?;
        Ok(new.len() as u64)
    }

    /// What the defect makes of the answer to an addition.
    async fn added<M: Member>(&self, key: &str, members: &[M], answer: Result<u64>) -> Result<u64> {
        match answer {
            Err(error) if self.is(Defect::ShowsMembers) && error.kind() == ErrorKind::Conflict => {
                let names: Vec<Bytes> = members.iter().map(Member::name).collect();
                Err(error.context(format_args!("adding {names:?}")))
            }
            Ok(new) if self.is(Defect::CountsNamesake) && new > 0 => {
                let names: BTreeSet<Bytes> = members.iter().map(Member::name).collect();
                Ok(new + (members.len() - names.len()) as u64)
            }
            Ok(new) => {
                if self.is(Defect::WritingClearsTheTime) {
                    self.inner.expire(key, Ttl::Never).await?;
                }
                Ok(new)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes `asked` members, with what the defect makes of the answer.
    pub(super) async fn removing(
        &self,
        key: &str,
        asked: usize,
        removal: impl Future<Output = Result<u64>> + Send,
    ) -> Result<u64> {
        let there = removal.await?;
        if there > 0 && !self.inner.exists(key).await? {
            self.seen().emptied.insert(key.to_owned());
        }
        Ok(match self.defect {
            Defect::CountsWhatWasAsked if there > 0 => asked as u64,
            _ => there,
        })
    }

    /// Counts members, with what the defect makes of it.
    pub(super) async fn counting<R>(
        &self,
        key: &str,
        count: impl Fn(MemoryCache) -> R + Send + Sync,
    ) -> Result<u64>
    where
        R: Future<Output = Result<u64>> + Send,
    {
        if self.is(Defect::AsksBeforeChecking) {
            self.inner.health().await?;
        }
        let answer = count(self.inner.clone()).await;
        match (self.defect, answer) {
            (Defect::CountsOutsideOfItsScope, Ok(_)) => count(self.spare.clone()).await,
            (Defect::CountsAfterShutdown, Err(error)) if error.kind() == ErrorKind::Closed => {
                count(self.spare.clone()).await
            }
            (Defect::AnotherTypeIsEmpty, Err(error)) if error.kind() == ErrorKind::Conflict => Ok(0),
            (Defect::AwayIsEmpty, Err(error)) if error.kind() == ErrorKind::Unavailable => Ok(0),
            (Defect::CountsWhatExpired, Ok(0)) if self.seen().expiring.contains(key) => Ok(1),
            (_, answer) => answer,
        }
    }

    /// What the defect leaves of the members that were read.
    pub(super) fn paged<M>(&self, members: impl IntoIterator<Item = M>) -> impl Iterator<Item = M> {
        let most = if self.is(Defect::FirstPageOnly) {
            PAGE
        } else {
            usize::MAX
        };
        members.into_iter().take(most)
    }

    /// Fails where nothing is under the key, if that is the defect.
    pub(super) async fn must_be_there(&self, key: &str) -> Result<()> {
        if self.is(Defect::AbsentIsAnError) && !self.inner.exists(key).await? {
            return Err(Error::new(ErrorKind::NotFound, "no such key"));
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for Client {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        if self.is(Defect::TakesItsKeysAlong) {
            let written = std::mem::take(&mut self.seen().written);
            for key in written {
                self.spare.delete(&[&key]).await?;
            }
        }
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Keys for Client {
    async fn delete(&self, keys: &[&str]) -> Result<u64> {
        self.inner.delete(keys).await
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        let exists = self.inner.exists(key).await?;
        Ok(exists || self.is(Defect::KeepsEmpty) && self.seen().emptied.contains(key))
    }

    async fn expire(&self, key: &str, ttl: Ttl) -> Result<bool> {
        let there = self.inner.expire(key, ttl).await?;
        if there && ttl != Ttl::Never {
            self.seen().expiring.insert(key.to_owned());
        }
        Ok(there)
    }

    async fn ttl(&self, key: &str) -> Result<Option<Ttl>> {
        self.inner.ttl(key).await
    }

    async fn scan(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<ScanPage> {
        self.inner.scan(prefix, cursor, limit).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<u64> {
        self.inner.delete_prefix(prefix).await
    }
}
