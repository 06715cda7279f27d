//! A client of a cache with one defect, over one that keeps the contract.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use infra_core::cache::{CompareAndSet, Expected, KeyValue, Keys, ScanPage};
use infra_core::capability::Capabilities;
use infra_core::{Backend, Error, ErrorKind, Result, Ttl, async_trait};
use infra_memory::MemoryCache;
use tokio::time::Instant;

use super::defect::Defect;

/// A client that does one thing wrong.
#[derive(Debug)]
pub(super) struct Client {
    inner: MemoryCache,
    /// A connection that stays open when this client is shut down.
    spare: MemoryCache,
    defect: Defect,
    seen: Mutex<Seen>,
}

/// What a client remembers, for the defects that need it.
#[derive(Debug, Default)]
struct Seen {
    /// When a key was last set, and with what time to live.
    set: HashMap<String, (Instant, Ttl)>,
    /// What the keys held that were deleted.
    deleted: HashMap<String, Bytes>,
    absent: BTreeSet<String>,
}

fn conflict(message: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Conflict, message)
}

fn stored(done: bool, current: Option<Bytes>) -> Result<CompareAndSet> {
    // `CompareAndSet` is open for more variants, and made by its names all the same.
    Ok(if done {
        CompareAndSet::Stored
    } else {
        CompareAndSet::Mismatch { current }
    })
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

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key<'k>(&self, key: &'k str) -> &'k str {
        match self.defect {
            Defect::TrimsKeys => key.trim_end(),
            _ => key,
        }
    }

    /// What the defect makes of a value before it is set.
    async fn value(&self, key: &str, value: Bytes) -> Bytes {
        match self.defect {
            Defect::KeepsText => String::from_utf8_lossy(&value).into_owned().into(),
            Defect::LeavesTheRest => match self.inner.get(key).await {
                Ok(Some(old)) if old.len() > value.len() => [&value[..], &old[value.len()..]].concat().into(),
                _ => value,
            },
            _ => value,
        }
    }

    /// What the defect makes of a time before it is set.
    async fn time(&self, key: &str, ttl: Ttl) -> Ttl {
        match (self.defect, ttl) {
            (Defect::WholeMinutes, Ttl::After(ttl)) if !ttl.is_zero() && ttl < Duration::from_secs(3600) => {
                Ttl::secs(ttl.as_secs().div_ceil(60) * 60)
            }
            (Defect::KeepsTheFirstTime, ttl) => match self.inner.ttl(key).await {
                Ok(Some(Ttl::After(left))) if ttl == Ttl::Never => Ttl::After(left),
                _ => ttl,
            },
            (_, ttl) => ttl,
        }
    }

    /// Refuses what the contract refuses, for the defects that work in several steps.
    fn check(&self, key: &str, value: &Bytes, ttl: Ttl) -> Result<()> {
        let limits = self.capabilities().limits();
        limits.check_key("key", key)?;
        limits.check_value("value", value.len())?;
        ttl.check(limits)
    }

    /// The current value, and a moment in which others may act.
    async fn look(&self, key: &str) -> Result<Option<Bytes>> {
        let current = self.inner.get(key).await;
        tokio::task::yield_now().await;
        current
    }

    fn mended(&self, error: Error) -> Error {
        match (self.defect, error.kind()) {
            (Defect::AwayIsInternal, ErrorKind::Unavailable) => {
                Error::new(ErrorKind::Internal, "connection refused")
            }
            _ => error,
        }
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
            let written = std::mem::take(&mut self.seen().set);
            for key in written.keys() {
                self.spare.delete(&[key]).await?;
            }
        }
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Keys for Client {
    async fn delete(&self, keys: &[&str]) -> Result<u64> {
        if self.is(Defect::KnowsOldOwners) {
            for key in keys {
                if let Some(value) = self.inner.get(key).await? {
                    self.seen().deleted.insert((*key).to_owned(), value);
                }
            }
        }
        let there = self.inner.delete(keys).await?;
        Ok(match self.defect {
            Defect::CountsWhatWasAsked => keys.len() as u64,
            _ => there,
        })
    }

    async fn exists(&self, key: &str) -> Result<bool> {
        let exists = self.inner.exists(key).await?;
        let was_set = self.is(Defect::ExpiredKeysExist) && self.seen().set.contains_key(key);
        // What was deleted and not set again has no time; only what has one can have expired.
        let expired = was_set && matches!(self.seen().set.get(key), Some((_, Ttl::After(_))));
        Ok(exists || expired)
    }

    async fn expire(&self, key: &str, ttl: Ttl) -> Result<bool> {
        match self.defect {
            Defect::ZeroDeletes if ttl == Ttl::After(Duration::ZERO) => {
                Ok(self.inner.delete(&[key]).await? > 0)
            }
            Defect::ExpiresNothingToo if ttl != Ttl::Never => self.inner.expire(key, ttl).await.map(|_| true),
            _ => self.inner.expire(key, ttl).await,
        }
    }

    async fn ttl(&self, key: &str) -> Result<Option<Ttl>> {
        let left = self.inner.ttl(key).await?;
        let set = self.seen().set.get(key).map(|(_, ttl)| *ttl);
        Ok(match self.defect {
            Defect::SaysTheTimeThatWasSet => left.map(|left| match (left, set) {
                (Ttl::After(_), Some(Ttl::After(set))) => Ttl::After(set),
                (left, _) => left,
            }),
            _ => left,
        })
    }

    async fn scan(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<ScanPage> {
        match self.defect {
            Defect::CountsItsPages => self.scan_from_number(prefix, cursor, limit).await,
            Defect::BeginsAgain => match self.inner.scan(prefix, cursor, limit).await {
                Err(error) if error.kind() == ErrorKind::InvalidArgument => {
                    self.inner.scan(prefix, None, limit).await
                }
                answer => answer,
            },
            Defect::ScansByPattern if cursor.is_none() && prefix.ends_with('_') => {
                let wider = prefix.strip_suffix('_').unwrap_or_default();
                let mut page = self.inner.scan(wider, None, usize::MAX).await?;
                page.keys.retain(|key| key.len() > wider.len());
                Ok(page)
            }
            Defect::ScansWhatExpired if cursor.is_none() => {
                let mut page = self.inner.scan(prefix, None, limit).await?;
                let expiring = |(_, (_, ttl)): &(&String, &(Instant, Ttl))| *ttl != Ttl::Never;
                let seen = self.seen();
                let expired = seen.set.iter().filter(expiring).map(|(key, _)| key);
                page.keys
                    .extend(expired.filter(|key| key.starts_with(prefix)).cloned());
                Ok(page)
            }
            _ => self.inner.scan(prefix, cursor, limit).await,
        }
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<u64> {
        match prefix.split_once('*') {
            Some((literal, _)) if self.is(Defect::DeletesByPattern) => {
                self.inner.delete_prefix(literal).await
            }
            _ => self.inner.delete_prefix(prefix).await,
        }
    }
}

impl Client {
    /// A scan whose cursor is how many keys it returned so far.
    async fn scan_from_number(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<ScanPage> {
        let refused = || Error::invalid_argument("the cursor did not come from this scan");
        let done: usize = match cursor {
            None => 0,
            Some(cursor) => cursor
                .strip_prefix(prefix)
                .and_then(|number| number.parse().ok())
                .ok_or_else(refused)?,
        };
        let all = self.inner.scan(prefix, None, usize::MAX).await?.keys;
        let page: Vec<String> = all.iter().skip(done).take(limit).cloned().collect();
        let next = done + page.len();
        let cursor = (next < all.len()).then(|| format!("{prefix}{next}"));
        Ok(ScanPage::new(page, cursor))
    }
}

#[async_trait]
impl KeyValue for Client {
    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let key = self.key(key);
        if self.is(Defect::AsksBeforeChecking) {
            self.inner.health().await?;
        }
        if self.is(Defect::RemembersAbsence) && self.seen().absent.contains(key) {
            return Ok(None);
        }
        let value = match self.inner.get(key).await {
            Err(error) if self.is(Defect::ReadsAfterShutdown) && error.kind() == ErrorKind::Closed => {
                self.spare.get(key).await?
            }
            answer => answer.map_err(|error| self.mended(error))?,
        };
        match (self.defect, &value) {
            (Defect::AbsentIsAnError, None) => return Err(Error::new(ErrorKind::NotFound, "no such key")),
            (Defect::RemembersAbsence, None) => {
                self.seen().absent.insert(key.to_owned());
            }
            (Defect::EvictsWhatIsIdle, Some(_)) => {
                let hour = Duration::from_secs(3600);
                let is_idle = |(at, _): &(Instant, Ttl)| at.elapsed() > hour;
                if self.seen().set.get(key).is_some_and(is_idle) {
                    return Ok(None);
                }
            }
            _ => {}
        }
        Ok(value)
    }

    async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<Bytes>>> {
        let mut values = self.inner.get_many(keys).await?;
        if self.is(Defect::LeavesOutAbsent) && values.iter().any(Option::is_some) {
            values.retain(Option::is_some);
        }
        Ok(values)
    }

    async fn set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<()> {
        let key = self.key(key);
        if self.is(Defect::OffByOne) && key.len() == self.capabilities().limits().max_key_bytes {
            return Err(Error::invalid_argument("the key is too long"));
        }
        let value = self.value(key, value).await;
        let set = self.time(key, ttl).await;
        let good = self.check(key, &value, ttl).is_ok();
        if good && self.is(Defect::DeletesThenSets) && self.inner.exists(key).await.unwrap_or(false) {
            self.inner.delete(&[key]).await?;
            tokio::task::yield_now().await;
        }
        self.inner.set(key, value, set).await?;
        let mut seen = self.seen();
        seen.set.insert(key.to_owned(), (Instant::now(), ttl));
        seen.absent.remove(key);
        Ok(())
    }

    async fn set_many(&self, entries: &[(&str, Bytes)], ttl: Ttl) -> Result<Vec<Result<()>>> {
        if self.is(Defect::AllOrNone) {
            let limits = self.capabilities().limits();
            for (key, value) in entries {
                limits.check_key("key", key)?;
                limits.check_value("value", value.len())?;
            }
        }
        self.inner.set_many(entries, ttl).await
    }

    async fn set_if_absent(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<bool> {
        let good = self.check(key, &value, ttl).is_ok();
        match self.defect {
            _ if !good => self.inner.set_if_absent(key, value, ttl).await,
            Defect::LooksThenSets if self.look(key).await?.is_none() => {
                self.inner.set(key, value, ttl).await.map(|()| true)
            }
            Defect::ConditionalWritesLast => self.inner.set_if_absent(key, value, Ttl::Never).await,
            Defect::EmptyIsAbsent if self.inner.get(key).await?.is_some_and(|value| value.is_empty()) => {
                self.inner.set(key, value, ttl).await.map(|()| true)
            }
            Defect::TouchesWhatIsThere => {
                let done = self.inner.set_if_absent(key, value, ttl).await?;
                self.inner.expire(key, ttl).await.map(|_| done)
            }
            _ => self.inner.set_if_absent(key, value, ttl).await,
        }
    }

    async fn get_set(&self, key: &str, value: Bytes, ttl: Ttl) -> Result<Option<Bytes>> {
        if self.is(Defect::SwapsInTwoSteps) && self.check(key, &value, ttl).is_ok() {
            let before = self.look(key).await?;
            return self.inner.set(key, value, ttl).await.map(|()| before);
        }
        self.inner.get_set(key, value, ttl).await
    }

    async fn compare_and_set(
        &self,
        key: &str,
        expected: Expected,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<CompareAndSet> {
        let good = self.check(key, &value, ttl).is_ok();
        match self.defect {
            _ if !good => self.inner.compare_and_set(key, expected, value, ttl).await,
            Defect::ComparesThenSets => {
                let current = self.look(key).await?;
                let equal = match &expected {
                    Expected::Value(expected) => current.as_ref() == Some(expected),
                    _ => current.is_none(),
                };
                if equal {
                    self.inner.set(key, value, ttl).await?;
                }
                stored(equal, current)
            }
            Defect::ComparesOnlyValues if expected == Expected::Absent => {
                stored(false, self.inner.get(key).await?)
            }
            _ => match self.inner.compare_and_set(key, expected, value, ttl).await? {
                CompareAndSet::Mismatch { .. } if self.is(Defect::MismatchSaysNothing) => stored(false, None),
                done => Ok(done),
            },
        }
    }

    async fn compare_and_delete(&self, key: &str, expected: Bytes) -> Result<bool> {
        let begins = match self.inner.get(key).await {
            Ok(Some(current)) => current.starts_with(&expected) && !expected.is_empty(),
            _ => false,
        };
        let knows = self.seen().deleted.get(key) == Some(&expected);
        if begins && self.is(Defect::ComparesBeginnings) || knows && self.is(Defect::KnowsOldOwners) {
            return self.inner.delete(&[key]).await.map(|there| there > 0);
        }
        self.inner.compare_and_delete(key, expected).await
    }

    async fn incr_by(&self, key: &str, difference: i64) -> Result<i64> {
        self.seen().absent.remove(key);
        if self.is(Defect::AddsInTwoSteps) {
            let sum = match self.look(key).await? {
                None => difference,
                Some(_) => return self.add_to_what_was_read(key, difference).await,
            };
            return self
                .inner
                .set(key, sum.to_string().into(), Ttl::Never)
                .await
                .map(|()| sum);
        }
        match self.inner.incr_by(key, difference).await {
            Ok(sum) => match self.defect {
                Defect::AnswersTheNumberBefore => Ok(sum.wrapping_sub(difference)),
                Defect::AddingClearsTheTime => self.inner.expire(key, Ttl::Never).await.map(|_| sum),
                _ => Ok(sum),
            },
            Err(error) if error.kind() == ErrorKind::Conflict => {
                self.conflicting(key, difference, error).await
            }
            Err(error) => Err(error),
        }
    }
}

impl Client {
    /// Two steps that keep everything else of the contract.
    async fn add_to_what_was_read(&self, key: &str, difference: i64) -> Result<i64> {
        let current = self.look(key).await?.unwrap_or_default();
        let ttl = self.inner.ttl(key).await?.unwrap_or(Ttl::Never);
        let number: Option<i64> = std::str::from_utf8(&current)
            .ok()
            .and_then(|text| text.parse().ok());
        let sum = number.and_then(|number| number.checked_add(difference));
        let sum = sum.ok_or_else(|| conflict("no sum of 64 bits"))?;
        self.inner
            .set(key, sum.to_string().into(), ttl)
            .await
            .map(|()| sum)
    }

    /// What the defect makes of an addition that is refused.
    async fn conflicting(&self, key: &str, difference: i64, error: Error) -> Result<i64> {
        let text = self.inner.get(key).await?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let sum = match self.defect {
            Defect::ReadsLeadingDigits => {
                let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
                match digits.parse::<i64>() {
                    Ok(number) if digits.len() < text.len() => number.saturating_add(difference),
                    _ => return Err(error),
                }
            }
            Defect::StopsAtTheEnd => match text.parse::<i64>() {
                Ok(number) => number.saturating_add(difference),
                Err(_) => return Err(error),
            },
            Defect::ConflictShowsTheValue => return Err(conflict(format!("{text:?} is no number"))),
            _ => return Err(error),
        };
        self.inner
            .set(key, sum.to_string().into(), Ttl::Never)
            .await
            .map(|()| sum)
    }
}
