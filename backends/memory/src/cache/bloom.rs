//! Bloom filters.

use async_trait::async_trait;
use infra_core::cache::{Bloom as BloomContract, BloomOptions};
use infra_core::{Error, ErrorKind, Result};

use super::value::Bloom;
use super::{MemoryCache, run};

#[async_trait]
impl BloomContract for MemoryCache {
    async fn bloom_reserve(&self, key: &str, options: BloomOptions) -> Result<()> {
        run("bloom_reserve", || {
            let key = self.key(key)?;
            options.validate()?;
            let bytes = usize::try_from(Bloom::bytes_for(&options)).unwrap_or(usize::MAX);
            let slot = self.reached()?.slot(&key);
            if let Some((filter, _)) = slot.structure::<Bloom>()? {
                let current = filter.lock().options;
                if current == options {
                    return Ok(());
                }
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!(
                        "bloom filter {key:?} exists with {current:?}; delete it first or use another key"
                    ),
                )
                .without_effect());
            }
            self.reached()?.check_fits(&key, bytes)?;
            slot.put_structure(Bloom::new(options));
            Ok(())
        })
    }

    async fn bloom_add(&self, key: &str, item: &[u8]) -> Result<bool> {
        run("bloom_add", || {
            let key = self.key(key)?;
            self.limits().check_value("item", item.len())?;
            let slot = self.reached()?.slot(&key);
            let Some((filter, _)) = slot.structure::<Bloom>()? else {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("bloom filter {key:?} does not exist; reserve it first"),
                )
                .without_effect());
            };
            let new = filter.lock().add(item);
            Ok(new)
        })
    }

    async fn bloom_contains(&self, key: &str, item: &[u8]) -> Result<bool> {
        run("bloom_contains", || {
            let key = self.key(key)?;
            let found = self.reached()?.look(&key, |filter: &Bloom| filter.contains(item));
            Ok(found?.unwrap_or(false))
        })
    }
}
