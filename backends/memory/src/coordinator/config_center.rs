//! The configuration centre: an ordered map at one global revision.

use std::collections::BTreeMap;

use infra_core::coordination::{ConfigCenter, ConfigEntry, ConfigWrite, Version, WatchScope};
use infra_core::watch::{Watch, WatchEvent};
use infra_core::{Error, ErrorKind, Result, async_trait};

use super::feed::{Feed, FeedLimits};
use super::{MemoryCoordinator, MemoryCoordinatorConfig, locked};

/// The entries and their history.
#[derive(Debug)]
pub(super) struct ConfigStore {
    max_entries: usize,
    max_bytes: usize,
    bytes: usize,
    entries: BTreeMap<String, ConfigEntry>,
    pub(super) feed: Feed<ConfigEntry>,
}

impl ConfigStore {
    pub(super) fn new(config: &MemoryCoordinatorConfig, limits: FeedLimits) -> Self {
        Self {
            max_entries: config.max_entries,
            max_bytes: config.max_config_bytes,
            bytes: 0,
            entries: BTreeMap::new(),
            feed: Feed::new(limits),
        }
    }

    fn read(&self, scope: &WatchScope) -> Vec<ConfigEntry> {
        match scope {
            WatchScope::Key(key) => self.entries.get(key).cloned().into_iter().collect(),
            WatchScope::Prefix(prefix) => self
                .entries
                .range(prefix.clone()..)
                .take_while(|(key, _)| key.starts_with(prefix.as_str()))
                .map(|(_, entry)| entry.clone())
                .collect(),
            other => self
                .entries
                .values()
                .filter(|entry| other.contains(&entry.key))
                .cloned()
                .collect(),
        }
    }

    fn write(&mut self, writes: Vec<ConfigWrite>) -> Result<Version> {
        for write in &writes {
            self.check_version(write)?;
        }
        self.check_room(&writes)?;
        let changes = writes
            .iter()
            .any(|write| write.value().is_some() || self.entries.contains_key(write.key()));
        if !changes {
            return Ok(Version(self.feed.revision()));
        }
        let version = Version(self.feed.advance());
        for write in writes {
            self.apply(&write, version);
        }
        Ok(version)
    }

    fn apply(&mut self, write: &ConfigWrite, version: Version) {
        let key = write.key();
        let old = match write.value() {
            Some(value) => {
                let entry = ConfigEntry::new(key, value.clone(), version);
                self.bytes += size(key, value.len());
                let old = self.entries.insert(key.to_owned(), entry.clone());
                self.feed
                    .publish(key, WatchEvent::Put(entry), size(key, value.len()));
                old
            }
            None => {
                let old = self.entries.remove(key);
                if old.is_some() {
                    self.feed
                        .publish(key, WatchEvent::Delete(key.to_owned()), size(key, 0));
                }
                old
            }
        };
        if let Some(old) = old {
            self.bytes -= size(key, old.value.len());
        }
    }

    fn check_version(&self, write: &ConfigWrite) -> Result<()> {
        let Some(expected) = write.expected() else {
            return Ok(());
        };
        let current = self
            .entries
            .get(write.key())
            .map_or(Version::ABSENT, |entry| entry.version);
        if current == expected {
            return Ok(());
        }
        Err(write.conflict(expected, current))
    }

    fn check_room(&self, writes: &[ConfigWrite]) -> Result<()> {
        let new = writes
            .iter()
            .filter(|write| write.value().is_some() && !self.entries.contains_key(write.key()))
            .count();
        let added: usize = writes
            .iter()
            .filter_map(|write| write.value().map(|value| size(write.key(), value.len())))
            .sum();
        if self.entries.len() + new > self.max_entries || self.bytes + added > self.max_bytes {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "the configuration centre is full ({} of {} keys, {} of {} bytes); delete some, or configure more room",
                    self.entries.len(),
                    self.max_entries,
                    self.bytes,
                    self.max_bytes
                ),
            )
            .without_effect());
        }
        Ok(())
    }
}

fn size(key: &str, value_bytes: usize) -> usize {
    key.len() + value_bytes
}

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("config_center", crate::BACKEND, operation)
}

#[async_trait]
impl ConfigCenter for MemoryCoordinator {
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
        scope
            .check(self.limits())
            .and_then(|()| self.reach())
            .map_err(at("read"))?;
        let store = locked(&self.client.server.configuration);
        Ok((store.read(scope), store.feed.revision()))
    }

    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<Version> {
        ConfigWrite::check(&writes, self.limits())
            .and_then(|()| self.reach())
            .and_then(|()| locked(&self.client.server.configuration).write(writes))
            .map_err(at("write"))
    }

    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>> {
        let watch = || {
            scope.check(self.limits())?;
            let mut store = locked(&self.client.server.configuration);
            self.reach()?;
            store.feed.watch(self.client.id, scope.clone(), revision)
        };
        watch().map_err(at("watch"))
    }
}
