//! How often a filter that is as full as it may be is wrong, beside what it was reserved for.

use futures_util::StreamExt;
use infra_core::cache::{Bloom, BloomOptions};
use infra_redis::RedisCache;

use crate::cache;

const RATE: f64 = 0.01;
/// How many requests are on their way at a time.
const AT_ONCE: usize = 256;

/// How many items the filter is made for and gets: `INFRA_BLOOM_ITEMS`, 1,000,000 in the long form.
fn items() -> u64 {
    std::env::var("INFRA_BLOOM_ITEMS").map_or(20_000, |items| {
        items.parse().expect("INFRA_BLOOM_ITEMS is a number of items")
    })
}

/// For how many of these items the answer was yes.
async fn count<'c, F>(
    cache: &'c RedisCache,
    items: u64,
    name: &'static str,
    ask: impl Fn(&'c RedisCache, Vec<u8>) -> F,
) -> u64
where
    F: Future<Output = bool>,
{
    futures_util::stream::iter(0..items)
        .map(|number| ask(cache, format!("{name} {number}").into_bytes()))
        .buffer_unordered(AT_ONCE)
        .fold(0, |sum, yes| async move { sum + u64::from(yes) })
        .await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::cast_precision_loss, reason = "a measurement")]
async fn a_full_filter_is_wrong_as_seldom_as_was_asked_for() {
    let Some(cache) = cache("redis").await else { return };
    let items = items();
    cache
        .bloom_reserve("full", BloomOptions::new(RATE, items))
        .await
        .unwrap();
    let add = async |cache: &RedisCache, item: Vec<u8>| cache.bloom_add("full", &item).await.unwrap();
    let contains =
        async |cache: &RedisCache, item: Vec<u8>| cache.bloom_contains("full", &item).await.unwrap();
    let new = count(&cache, items, "item", add).await;
    assert_eq!(
        count(&cache, items, "item", contains).await,
        items,
        "an item was forgotten"
    );
    let wrong = count(&cache, items, "other", contains).await;
    let (expected, of) = (items as f64 * RATE, items as f64);
    eprintln!(
        "{items} items at {RATE}: {wrong} of as many others taken for seen ({:.4}), {new} were new",
        wrong as f64 / of
    );
    // Four standard deviations of chance, and a hundredth since there are whole numbers of hashes only.
    let most = expected * 1.01 + 4.0 * expected.sqrt();
    assert!(wrong as f64 <= most, "{wrong} of {items}, expected {expected}");
    // And it is not better because it is larger than it should be.
    assert!(
        wrong as f64 >= expected * 0.9 - 4.0 * expected.sqrt(),
        "{wrong} of {items}, expected {expected}"
    );
    // Items were taken for seen while the filter filled, less often than at its end.
    assert!((items - new) as f64 <= most, "{new} of {items} were new");
}
