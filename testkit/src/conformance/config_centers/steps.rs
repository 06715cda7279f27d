//! What several scenarios of configuration do first: each step is a premise, which another scenario proves.

use infra_core::coordination::{ConfigCenter, ConfigCenterExt, ConfigEntry, ConfigWrite, Version};

use crate::conformance::{Failure, Premise};

/// Writes a value; all values of these families are JSON, unless a scenario is about something else.
pub(crate) async fn put(center: &dyn ConfigCenter, key: &str, value: &str) -> Result<Version, Failure> {
    let written = center.write(vec![ConfigWrite::set(key, value.to_owned())]).await;
    written.premise("a value is written")
}

/// The value of a key as text.
pub(crate) async fn text(center: &dyn ConfigCenter, key: &str) -> Result<Option<String>, Failure> {
    let entry = center.entry(key).await.premise("a key is read")?;
    Ok(entry.map(|entry| shown(&entry)))
}

/// The value of an entry as text.
pub(crate) fn shown(entry: &ConfigEntry) -> String {
    String::from_utf8_lossy(&entry.value).into_owned()
}

/// The keys of entries, in their order.
pub(crate) fn keys(entries: &[ConfigEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.key.as_str()).collect()
}
