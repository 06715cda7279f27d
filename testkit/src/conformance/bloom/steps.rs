//! What several scenarios of bloom filters do first: each step is a premise, which another scenario proves.

use infra_core::cache::{Bloom, BloomOptions};

use crate::conformance::{Failure, Premise};

/// A filter in which so few items as a scenario adds are practically never taken for one another.
pub(crate) const PRECISE: BloomOptions = BloomOptions::new(1e-6, 1_000);

/// Reserves a filter of which false answers need not be expected.
pub(crate) async fn reserve(cache: &dyn Bloom, key: &str) -> Result<(), Failure> {
    let reserved = cache.bloom_reserve(key, PRECISE).await;
    reserved.premise("a filter is reserved")
}

/// Adds an item, whether it is new or not.
pub(crate) async fn put(cache: &dyn Bloom, key: &str, item: &[u8]) -> Result<(), Failure> {
    let added = cache.bloom_add(key, item).await;
    added.map(drop).premise("an item is added")
}

/// Whether the filter contains an item.
pub(crate) async fn contains(cache: &dyn Bloom, key: &str, item: &[u8]) -> Result<bool, Failure> {
    let contains = cache.bloom_contains(key, item).await;
    contains.premise("a filter is asked")
}
