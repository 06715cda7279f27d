//! Bloom filters that are broken on purpose.

use std::sync::Arc;

use bytes::Bytes;
use infra_core::cache::{Bloom, BloomOptions, Keys};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_testkit::conformance::{self, Breakage, prove};

use super::client::Client;
use super::{Defect, broken};

pub(crate) const FAMILY: &str = "bloom";

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::bloom::SCENARIOS,
        &[
            bloom("BLOOM-001", Defect::FullTakesNothing, "drops what is added to a full filter"),
            bloom("BLOOM-002", Defect::ReservesATenth, "reserves a tenth of the capacity"),
            bloom("BLOOM-003", Defect::RepeatsItsAnswer, "gives a repeated call the answer of the first"),
            bloom("BLOOM-004", Defect::KeepsText, "takes items for text"),
            bloom("BLOOM-005", Defect::LooksThenAdds, "looks whether an item is new, and then adds it"),
            bloom("BLOOM-006", Defect::OffByOne, "refuses an item of the size that it declares"),
            bloom("BLOOM-007", Defect::AbsentIsAnError, "says not found where no filter is asked"),
            bloom("BLOOM-008", Defect::MakesWhatIsAbsent, "makes a filter of its own where none was reserved"),
            bloom("BLOOM-009", Defect::ReservingEmpties, "empties a filter that is reserved again"),
            bloom("BLOOM-010", Defect::TakesAnyOptions, "takes a filter with other options for the same"),
            bloom("BLOOM-011", Defect::ZeroIsOne, "takes a capacity of zero for one"),
            bloom("BLOOM-012", Defect::TrimsNames, "trims blanks at the end of keys"),
            bloom("BLOOM-013", Defect::CountsOutsideOfItsScope, "asks without its scope"),
            bloom("BLOOM-014", Defect::TakesItsKeysAlong, "deletes at shutdown what it reserved"),
            bloom("BLOOM-015", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            bloom("BLOOM-016", Defect::ShowsMembers, "shows the item for which there is no filter"),
            bloom("BLOOM-017", Defect::CountsAfterShutdown, "goes on asking after shutdown"),
            bloom("BLOOM-018", Defect::AwayIsEmpty, "contains nothing while the server is away"),
        ],
    );
}

fn bloom(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn Bloom> {
    broken(breaks, defect, words, |client| client as Arc<dyn Bloom>)
}

impl Client {
    fn filter<'k>(&self, key: &'k str) -> &'k str {
        match self.defect {
            Defect::TrimsNames => key.trim_end_matches(' '),
            _ => key,
        }
    }

    fn item(&self, item: &[u8]) -> Bytes {
        match self.defect {
            Defect::KeepsText => String::from_utf8_lossy(item).into_owned().into(),
            _ => Bytes::copy_from_slice(item),
        }
    }

    /// What the defect does with an item that it does not simply add.
    async fn add_item(&self, key: &str, item: &[u8]) -> Result<bool> {
        let largest = self.capabilities().limits().max_value_bytes;
        match self.defect {
            Defect::OffByOne if item.len() == largest => {
                Err(Error::invalid_argument("the item is too large"))
            }
            Defect::LooksThenAdds
                if item.len() < largest && self.inner.exists(key).await.unwrap_or(false) =>
            {
                let seen = self.inner.bloom_contains(key, item).await?;
                tokio::task::yield_now().await;
                self.inner.bloom_add(key, item).await.map(|_| !seen)
            }
            Defect::FullTakesNothing if self.is_full(key) => Ok(true),
            _ => self.inner.bloom_add(key, item).await,
        }
    }

    /// What the defect makes of an addition to a filter that there is not.
    async fn not_found(&self, key: &str, item: &[u8], error: Error) -> Result<bool> {
        match self.defect {
            Defect::MakesWhatIsAbsent => {
                let options = BloomOptions::new(0.01, 1_000);
                self.inner.bloom_reserve(key, options).await?;
                self.inner.bloom_add(key, item).await
            }
            Defect::ShowsMembers => {
                let item = String::from_utf8_lossy(item);
                Err(error.context(format_args!("adding {item}")))
            }
            _ => Err(error),
        }
    }
}

#[async_trait]
impl Bloom for Client {
    async fn bloom_reserve(&self, key: &str, mut options: BloomOptions) -> Result<()> {
        let key = self.filter(key);
        match self.defect {
            Defect::ReservesATenth if options.capacity > 0 => {
                options.capacity = options.capacity.div_ceil(10)
            }
            Defect::ZeroIsOne => options.capacity = options.capacity.max(1),
            _ => {}
        }
        let is_there = self.inner.exists(key).await.unwrap_or(false);
        match self.inner.bloom_reserve(key, options).await {
            Err(error) if self.is(Defect::TakesAnyOptions) && error.kind() == ErrorKind::AlreadyExists => {
                Ok(())
            }
            Ok(()) if self.is(Defect::ReservingEmpties) && is_there => {
                self.inner.delete(&[key]).await?;
                self.inner.bloom_reserve(key, options).await
            }
            Ok(()) => {
                self.reserved(key, options.capacity);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn bloom_add(&self, key: &str, item: &[u8]) -> Result<bool> {
        let (key, item) = (self.filter(key), self.item(item));
        let new = match self.add_item(key, &item).await {
            Err(error) if error.kind() == ErrorKind::NotFound => self.not_found(key, &item, error).await?,
            answer => answer?,
        };
        let repeated = self.repeats(key, &item);
        Ok(new || repeated && self.is(Defect::RepeatsItsAnswer))
    }

    async fn bloom_contains(&self, key: &str, item: &[u8]) -> Result<bool> {
        let (key, item) = (self.filter(key), self.item(item));
        let asked = |cache: infra_memory::MemoryCache| {
            let item = item.clone();
            async move { cache.bloom_contains(key, &item).await.map(u64::from) }
        };
        let found = self.counting(key, asked).await?;
        self.must_be_there(key).await.map(|()| found > 0)
    }
}
