//! Hashes that are broken on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use infra_core::cache::Hashes;
use infra_core::capability::Limits;
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_memory::MemoryCache;
use infra_testkit::conformance::{self, Breakage, prove};

use super::client::{Client, Member};
use super::{Defect, broken};

pub(crate) const FAMILY: &str = "hashes";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::hashes::SCENARIOS,
        &[
            hash("HASH-001", Defect::AbsentIsAnError, "says not found where no hash is"),
            hash("HASH-002", Defect::KeepsText, "keeps values as text"),
            hash("HASH-003", Defect::CountsNamesake, "counts a field twice that is named twice"),
            hash("HASH-004", Defect::ReplacesTheHash, "forgets the fields that a write does not name"),
            hash("HASH-005", Defect::CountsWhatWasAsked, "counts what was to be deleted, not what was"),
            hash("HASH-006", Defect::KeepsEmpty, "keeps a hash without fields"),
            hash("HASH-007", Defect::EmptyIsAbsent, "takes a field with an empty value for absent"),
            hash("HASH-008", Defect::TrimsNames, "trims blanks at the end of fields"),
            hash("HASH-009", Defect::FirstPageOnly, "returns the first page of fields only"),
            hash("HASH-010", Defect::AddsOnlyToWhatIsThere, "adds only to a number that is there"),
            hash("HASH-011", Defect::TextCountsAsZero, "takes what is no number for zero"),
            hash("HASH-012", Defect::WrapsAround, "goes on at the other end of the numbers"),
            hash("HASH-013", Defect::ReadsThenAdds, "reads a number, and then writes the sum"),
            hash("HASH-014", Defect::WritingClearsTheTime, "lets a hash live for ever once a field is set"),
            hash("HASH-015", Defect::CountsWhatExpired, "counts fields that expired"),
            hash("HASH-016", Defect::AnotherTypeIsEmpty, "takes a key of another type for an empty hash"),
            hash("HASH-017", Defect::LooksThenAdds, "looks what is new, and then sets it"),
            hash("HASH-018", Defect::CountsOutsideOfItsScope, "counts without its scope"),
            hash("HASH-019", Defect::TakesItsKeysAlong, "deletes at shutdown what it wrote"),
            hash("HASH-020", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            hash("HASH-021", Defect::OffByOne, "refuses a field of the size that it declares"),
            hash("HASH-022", Defect::WritesUpToTheRefused, "sets the fields before a refused one"),
            hash("HASH-023", Defect::ShowsMembers, "shows the value that is no number"),
            hash("HASH-024", Defect::CountsAfterShutdown, "goes on counting after shutdown"),
            hash("HASH-025", Defect::AwayIsEmpty, "counts nothing while the server is away"),
            hash("HASH-026", Defect::WritesOneByOne, "sets fields one by one"),
        ],
    );
}

fn hash(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Hashes> {
    broken(breaks, defect, words, |client| client as Arc<dyn Hashes>)
}

/// A field with its value.
#[derive(Clone)]
struct Field(String, Bytes);

#[async_trait]
impl Member for Field {
    fn name(&self) -> Bytes {
        Bytes::from(self.0.clone())
    }

    fn named(self, name: Bytes) -> Self {
        Self(String::from_utf8_lossy(&name).into_owned(), self.1)
    }

    fn is_acceptable(&self, limits: &Limits) -> bool {
        let fits = |size| limits.check_value("field", size).is_ok();
        fits(self.0.len()) && fits(self.1.len())
    }

    async fn add(cache: &MemoryCache, key: &str, members: &[Self]) -> Result<u64> {
        let fields: Vec<_> = members
            .iter()
            .map(|Self(field, value)| (field.as_str(), value.clone()))
            .collect();
        cache.hash_set(key, &fields).await
    }

    async fn has(&self, cache: &MemoryCache, key: &str) -> Result<bool> {
        cache.hash_exists(key, &self.0).await
    }
}

impl Client {
    fn field<'f>(&self, field: &'f str) -> &'f str {
        match self.defect {
            Defect::TrimsNames => field.trim_end_matches(' '),
            _ => field,
        }
    }

    fn value(&self, value: &Bytes) -> Bytes {
        match self.defect {
            Defect::KeepsText => String::from_utf8_lossy(value).into_owned().into(),
            _ => value.clone(),
        }
    }

    /// What a field holds, if a number can be added to it here.
    async fn number(&self, key: &str, field: &str) -> Option<Bytes> {
        self.inner.hash_get(key, field).await.ok().flatten()
    }

    /// Deletes the fields that a write replaces together with the rest of the hash.
    async fn forget_others(&self, key: &str, fields: &[(&str, Bytes)]) -> Result<()> {
        let names: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
        let held = self.inner.hash_get_all(key).await?;
        let replaces = names.iter().any(|name| held.contains_key(*name));
        let others: Vec<&str> = held
            .keys()
            .map(String::as_str)
            .filter(|name| !names.contains(name))
            .collect();
        if replaces {
            self.inner.hash_delete(key, &others).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Hashes for Client {
    async fn hash_get(&self, key: &str, field: &str) -> Result<Option<Bytes>> {
        let value = self.inner.hash_get(key, self.field(field)).await?;
        self.must_be_there(key).await.map(|()| value)
    }

    async fn hash_get_all(&self, key: &str) -> Result<BTreeMap<String, Bytes>> {
        let fields = self.inner.hash_get_all(key).await?;
        Ok(self.paged(fields).collect())
    }

    async fn hash_set(&self, key: &str, fields: &[(&str, Bytes)]) -> Result<u64> {
        if self.is(Defect::ReplacesTheHash) && fields.len() == 2 {
            self.forget_others(key, fields).await?;
        }
        let fields = fields
            .iter()
            .map(|(field, value)| Field((*field).to_owned(), self.value(value)))
            .collect();
        self.adding(key, fields).await
    }

    async fn hash_delete(&self, key: &str, fields: &[&str]) -> Result<u64> {
        let deleted: Vec<&str> = fields.iter().map(|field| self.field(field)).collect();
        self.removing(key, fields.len(), self.inner.hash_delete(key, &deleted))
            .await
    }

    async fn hash_exists(&self, key: &str, field: &str) -> Result<bool> {
        let exists = self.inner.hash_exists(key, self.field(field)).await?;
        if exists && self.is(Defect::EmptyIsAbsent) {
            let value = self.inner.hash_get(key, field).await?;
            return Ok(value.is_some_and(|value| !value.is_empty()));
        }
        Ok(exists)
    }

    async fn hash_len(&self, key: &str) -> Result<u64> {
        self.counting(key, |cache| async move { cache.hash_len(key).await })
            .await
    }

    async fn hash_incr_by(&self, key: &str, field: &str, difference: i64) -> Result<i64> {
        let before = self.number(key, field).await;
        if self.is(Defect::AddsOnlyToWhatIsThere) && before.is_none() {
            let limits = self.capabilities().limits();
            limits.check_key("key", key)?;
            limits.check_value("field name", field.len())?;
            self.inner.hash_exists(key, field).await?;
            return Err(Error::new(ErrorKind::Conflict, "there is no number"));
        }
        if self.is(Defect::ReadsThenAdds)
            && let Some(number) = before.as_deref().and_then(parsed)
            && let Some(sum) = number.checked_add(difference)
        {
            tokio::task::yield_now().await;
            let value = Bytes::from(sum.to_string());
            return self.inner.hash_set(key, &[(field, value)]).await.map(|_| sum);
        }
        match self.inner.hash_incr_by(key, field, difference).await {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let Some(before) = before else {
                    return Err(error);
                };
                let wrapped = parsed(&before).map(|number| number.wrapping_add(difference));
                let sum = match self.defect {
                    Defect::ShowsMembers => {
                        return Err(error.context(format_args!("{before:?} is no number")));
                    }
                    Defect::WrapsAround => wrapped,
                    Defect::TextCountsAsZero if wrapped.is_none() => Some(difference),
                    _ => None,
                };
                let sum = sum.ok_or(error)?;
                let value = Bytes::from(sum.to_string());
                self.inner.hash_set(key, &[(field, value)]).await.map(|_| sum)
            }
            answer => answer,
        }
    }
}

fn parsed(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
