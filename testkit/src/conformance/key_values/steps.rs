//! What several scenarios of strings do first: each step is a premise, which another scenario proves.

use std::time::Duration;

use bytes::Bytes;
use infra_core::Ttl;
use infra_core::cache::{KeyValue, ScanPage};

use crate::conformance::{Failure, Harness, Premise, TimeControl};

/// Stores a text that does not expire.
pub(crate) async fn put(cache: &dyn KeyValue, key: &str, value: &str) -> Result<(), Failure> {
    put_for(cache, key, value, Ttl::Never).await
}

/// Stores a text for so long.
pub(crate) async fn put_for(
    cache: &dyn KeyValue,
    key: &str,
    value: &str,
    ttl: impl Into<Ttl>,
) -> Result<(), Failure> {
    let value = Bytes::from(value.to_owned());
    cache
        .set(key, value, ttl.into())
        .await
        .premise("a value is stored")
}

/// The value of a key as text.
pub(crate) async fn text(cache: &dyn KeyValue, key: &str) -> Result<Option<String>, Failure> {
    let value = cache.get(key).await.premise("a key is read")?;
    Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

/// How long a key has to live.
pub(crate) async fn time_left(cache: &dyn KeyValue, key: &str) -> Result<Option<Ttl>, Failure> {
    cache
        .ttl(key)
        .await
        .premise("a key is asked for its time to live")
}

/// Goes through a whole scan, and gives its pages.
pub(crate) async fn pages(
    cache: &dyn KeyValue,
    prefix: &str,
    limit: usize,
) -> Result<Vec<ScanPage>, Failure> {
    let mut pages: Vec<ScanPage> = Vec::new();
    let mut cursor = None;
    // A scan that goes round in circles ends here.
    for _ in 0..10_000 {
        let page = cache
            .scan(prefix, cursor.as_deref(), limit)
            .await
            .premise("a page is scanned")?;
        cursor.clone_from(&page.cursor);
        pages.push(page);
        if cursor.is_none() {
            return Ok(pages);
        }
    }
    Err(Failure::broken(format!(
        "a scan below {prefix:?} did not end after {} pages",
        pages.len()
    )))
}

/// The keys below a prefix, each once, in order.
pub(crate) async fn keys_below(cache: &dyn KeyValue, prefix: &str) -> Result<Vec<String>, Failure> {
    let pages = pages(cache, prefix, 100).await?;
    let mut keys: Vec<String> = pages.into_iter().flat_map(|page| page.keys).collect();
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// A key that may share a call with others of this run: a cluster needs a common hash tag.
pub(crate) fn together(harness: &Harness<dyn KeyValue>, suffix: &str) -> String {
    format!("{{{}}}{suffix}", harness.name("tag"))
}

/// A while, long where time costs nothing.
pub(crate) fn long_while(harness: &Harness<dyn KeyValue>) -> Duration {
    match harness.time() {
        TimeControl::Virtual => Duration::from_secs(12 * 3600),
        TimeControl::Real => Duration::from_secs(3),
    }
}
