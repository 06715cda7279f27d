//! The configuration centre on the key-value store: versions are the indexes of changes, conditions are part of transactions.

use std::time::Duration;

use infra_core::coordination::{ConfigCenter, ConfigEntry, ConfigWrite, Version, WatchScope};
use infra_core::watch::Watch;
use infra_core::{Error, Result, async_trait};

use crate::client::Client;
use crate::config::MAX_OPERATIONS;
use crate::coordinator::ConsulCoordinator;
use crate::kv::{self, Operation, Pair, Range, Transacted};
use crate::watching::{self, Source, State};
use crate::{BACKEND, keys};

fn at(operation: &'static str) -> impl Fn(Error) -> Error {
    move |error| error.at("config_center", BACKEND, operation)
}

/// A scope of the configuration centre.
#[derive(Debug)]
pub(crate) struct Scope {
    scope: WatchScope,
    folder: String,
    range: Range,
    name: String,
    /// Whether it is read for many watches of single keys in it.
    of_many: bool,
}

impl Scope {
    fn new(client: &Client, scope: &WatchScope) -> Self {
        let folder = client.keys().configuration();
        let range = match scope {
            WatchScope::Key(key) => Range::Key(format!("{folder}{}", keys::stored(key))),
            WatchScope::Prefix(prefix) => Range::Prefix(format!("{folder}{}", keys::stored(prefix))),
            // What the contract may get later is narrowed down by whoever reads it.
            _ => Range::Prefix(folder.clone()),
        };
        Self {
            scope: scope.clone(),
            name: format!("{range:?}"),
            folder,
            range,
            of_many: false,
        }
    }

    /// The entry that a key of Consul holds; `None` for a key that nobody wrote through here, and one beside the scope.
    fn entry(&self, pair: Pair) -> Option<ConfigEntry> {
        let key = keys::name(pair.key.strip_prefix(&self.folder)?)?;
        if key.is_empty() || !self.scope.contains(&key) {
            return None;
        }
        Some(ConfigEntry::new(key, pair.value.0, Version(pair.modify_index)))
    }
}

#[async_trait]
impl Source for Scope {
    type Item = ConfigEntry;

    fn name(&self) -> &str {
        &self.name
    }

    fn is_single(&self) -> bool {
        matches!(self.range, Range::Key(_))
    }

    async fn read(&self, client: &Client, index: u64, wait: Duration) -> Result<State<ConfigEntry>> {
        let mut request = self.range.request().blocking(index, wait);
        if self.of_many {
            request = request.of_many();
        }
        let (pairs, index) = kv::read(client, &request).await?;
        let entries = pairs.into_iter().filter_map(|pair| self.entry(pair));
        Ok(State {
            index,
            items: entries
                .map(|entry| (entry.key.clone(), (entry.version.0, entry)))
                .collect(),
        })
    }

    /// The folder that a single key is in.
    fn whole(&self) -> Option<Self> {
        let Range::Key(kept) = &self.range else {
            return None;
        };
        let kept = &kept[..=kept.rfind('/')?];
        // By what is kept, since names that only differ in escaped slashes are in one folder.
        let scope = WatchScope::Prefix(keys::name(kept.strip_prefix(&self.folder)?)?);
        let range = Range::Prefix(kept.to_owned());
        Some(Self {
            scope,
            name: format!("{range:?}"),
            folder: self.folder.clone(),
            range,
            of_many: true,
        })
    }

    fn part(&self, whole: &State<ConfigEntry>) -> State<ConfigEntry> {
        let WatchScope::Key(key) = &self.scope else {
            return whole.clone();
        };
        let item = whole.items.get_key_value(key);
        State {
            index: whole.index,
            items: item
                .map(|(key, item)| (key.clone(), item.clone()))
                .into_iter()
                .collect(),
        }
    }

    fn size(entry: &ConfigEntry) -> usize {
        entry.key.len() + entry.value.len()
    }
}

#[async_trait]
impl ConfigCenter for ConsulCoordinator {
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
        let read = async {
            self.client.check_open()?;
            scope.check(self.limits())?;
            let source = Scope::new(&self.client, scope);
            let state = source.read(&self.client, 0, Duration::ZERO).await?;
            self.readings.note(source.name(), &state);
            let entries = state.items.into_values().map(|(_, entry)| entry);
            Ok((entries.collect(), state.index))
        };
        read.await.map_err(at("read"))
    }

    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<Version> {
        let write = async {
            self.client.check_open()?;
            ConfigWrite::check(&writes, self.limits())?;
            self.write_all(&writes).await
        };
        write.await.map_err(at("write"))
    }

    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>> {
        let watch = async {
            self.client.check_open()?;
            scope.check(self.limits())?;
            let source = Scope::new(&self.client, scope);
            watching::open(
                &self.client,
                source,
                &self.readings,
                Some(&self.together),
                revision,
            )
            .await
        };
        watch.await.map_err(at("watch"))
    }
}

/// The operations of one write under this key. Only a deletion under a condition takes two: Consul's own deletion of a certain
/// version is content with a key that is not there.
fn operations(key: &str, write: &ConfigWrite) -> Vec<Operation> {
    match (write.value(), write.expected()) {
        (Some(value), None) => vec![Operation::set(key, value.clone())],
        (Some(value), Some(version)) => vec![Operation::compare_and_set(key, value.clone(), version.0)],
        (None, None) => vec![Operation::delete(key)],
        (None, Some(Version::ABSENT)) => vec![Operation::check_absent(key)],
        (None, Some(version)) => vec![Operation::check_index(key, version.0), Operation::delete(key)],
    }
}

impl ConsulCoordinator {
    /// One transaction. Deletions alone give version 0, which is the version of what is not there.
    async fn write_all(&self, writes: &[ConfigWrite]) -> Result<Version> {
        let folder = self.client.keys().configuration();
        let mut all = Vec::new();
        // Which write each operation belongs to.
        let mut origins = Vec::new();
        for (position, write) in writes.iter().enumerate() {
            let operations = operations(&format!("{folder}{}", keys::stored(write.key())), write);
            origins.resize(origins.len() + operations.len(), position);
            all.extend(operations);
        }
        if all.len() > MAX_OPERATIONS {
            return Err(Error::invalid_argument(format!(
                "{} writes take {} operations of Consul, of which a transaction has {MAX_OPERATIONS}: deletions under a condition take two each; write fewer at once",
                writes.len(),
                all.len()
            )));
        }
        let faults = match kv::transact(&self.client, &all).await? {
            Transacted::Done(pairs) => {
                // A key that had this value already keeps its version.
                return Ok(pairs
                    .iter()
                    .map(|pair| Version(pair.modify_index))
                    .max()
                    .unwrap_or(Version::ABSENT));
            }
            Transacted::RolledBack(faults) => faults,
        };
        let refused = faults
            .iter()
            .filter_map(|fault| origins.get(fault.op_index))
            .min();
        let Some((write, expected)) =
            refused.and_then(|&position| Some((&writes[position], writes[position].expected()?)))
        else {
            let said = faults
                .into_iter()
                .map(|fault| fault.what)
                .collect::<Vec<_>>()
                .join("; ");
            return Err(Error::new(
                infra_core::ErrorKind::Internal,
                format!("Consul rolled a transaction back for another reason than a condition: {said}"),
            )
            .without_effect());
        };
        Err(write.conflict(expected, self.present(write.key()).await?))
    }

    /// The version that a key has by now.
    async fn present(&self, key: &str) -> Result<Version> {
        let source = Scope::new(&self.client, &WatchScope::Key(key.to_owned()));
        let state = source.read(&self.client, 0, Duration::ZERO).await?;
        Ok(state
            .items
            .values()
            .next()
            .map_or(Version::ABSENT, |(_, entry)| entry.version))
    }
}
