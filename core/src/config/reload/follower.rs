//! The task behind [`Following`](super::Following): read, watch from there, apply; again after whatever goes wrong.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::snapshot::Snapshot;
use super::{HotReload, Validate, decode};
use crate::config::{Format, Source};
use crate::coordination::{ConfigCenter, ConfigEntry, WatchScope};
use crate::error::{Error, ErrorKind, Result};
use crate::watch::{Watch, WatchEvent};

/// The longest that one read, or the opening of a watch, may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// A watch that lived this long was healthy, so that the next failure starts with the shortest delay again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// What the entries of the config centre are applied to.
pub(super) trait Target: Send + 'static {
    /// Applies an entry; false when it was rejected.
    fn put(&mut self, entry: &ConfigEntry) -> bool;
    /// Goes back to the default of a key.
    fn delete(&mut self, key: &str);
}

pub(super) struct Follower<T> {
    center: Arc<dyn ConfigCenter>,
    scope: WatchScope,
    target: T,
    snapshot: Option<Snapshot>,
    connected: Arc<AtomicBool>,
    /// The latest entry of each key, good or bad: what comes again is not applied again.
    seen: BTreeMap<String, ConfigEntry>,
    /// The latest good entry of each key, for the snapshot.
    accepted: BTreeMap<String, ConfigEntry>,
}

impl<T: Target> Follower<T> {
    pub(super) fn new(
        center: Arc<dyn ConfigCenter>,
        scope: WatchScope,
        target: T,
        snapshot: Option<Snapshot>,
        connected: Arc<AtomicBool>,
    ) -> Self {
        Self {
            center,
            scope,
            target,
            snapshot,
            connected,
            seen: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
    }

    /// Reads the whole scope and applies what differs; gives the revision to watch from.
    pub(super) async fn read(&mut self) -> Result<u64> {
        let (entries, revision) = limited(self.center.read(&self.scope)).await?;
        let gone: Vec<_> = self
            .seen
            .keys()
            .filter(|key| entries.iter().all(|entry| entry.key != **key))
            .cloned()
            .collect();
        let mut changed = false;
        for key in gone {
            changed |= self.delete(&key);
        }
        for entry in entries {
            changed |= self.put(entry);
        }
        // An empty scope is worth a snapshot too: the centre was reached and says that the defaults apply.
        if changed || self.snapshot.as_ref().is_some_and(Snapshot::is_unwritten) {
            self.save().await;
        }
        Ok(revision)
    }

    /// Applies the snapshot, if there is a good one: for when the centre is away, and for keys whose value there is bad now.
    pub(super) async fn restore(&mut self) -> bool {
        let Some(snapshot) = &self.snapshot else {
            return false;
        };
        let entries = match snapshot.load().await {
            Ok(Some(entries)) => entries,
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(%error, "the configuration snapshot is ignored");
                return false;
            }
        };
        for entry in entries {
            self.put(entry);
        }
        true
    }

    /// Follows until the task is aborted.
    pub(super) async fn run(mut self, mut revision: Option<u64>) {
        let mut delays = delays();
        loop {
            let begun = Instant::now();
            let session = AssertUnwindSafe(self.session(revision.take()));
            let ended = session.catch_unwind().await.unwrap_or_else(|_| {
                Ended::Failed(Error::new(
                    ErrorKind::Internal,
                    "applying a configuration value panicked",
                ))
            });
            if self.connected.swap(false, Ordering::AcqRel) && begun.elapsed() >= HEALTHY_AFTER {
                delays = self::delays();
            }
            let delay = delays.next().unwrap_or(HEALTHY_AFTER);
            match ended {
                Ended::HistoryLost => {
                    tracing::debug!(scope = ?self.scope, "the history of a configuration watch was lost; reading again");
                }
                Ended::Failed(error) => {
                    tracing::warn!(
                        scope = ?self.scope, %error, ?delay,
                        "a configuration watch ended; the last values stay, and it is opened again"
                    );
                }
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// One watch, from its opening to its end.
    async fn session(&mut self, revision: Option<u64>) -> Ended {
        match self.open(revision).await {
            Ok(watch) => {
                self.connected.store(true, Ordering::Release);
                self.consume(watch).await
            }
            Err(error) => Ended::Failed(error),
        }
    }

    async fn open(&mut self, revision: Option<u64>) -> Result<Watch<ConfigEntry>> {
        let revision = match revision {
            Some(revision) => revision,
            None => self.read().await?,
        };
        limited(self.center.watch(&self.scope, revision)).await
    }

    async fn consume(&mut self, mut watch: Watch<ConfigEntry>) -> Ended {
        while let Some(event) = watch.next().await {
            let changed = match event {
                WatchEvent::Put(entry) => self.put(entry),
                WatchEvent::Delete(key) => self.delete(&key),
                WatchEvent::Lagged { .. } | WatchEvent::Reset => return Ended::HistoryLost,
                WatchEvent::Closed(error) => return Ended::Failed(error),
            };
            if changed {
                self.save().await;
            }
        }
        Ended::Failed(Error::closed("the watch of the config centre"))
    }

    fn put(&mut self, entry: ConfigEntry) -> bool {
        if !self.scope.contains(&entry.key) || self.seen.get(&entry.key) == Some(&entry) {
            return false;
        }
        // Seen even if applying it panics, so that the next round gets past it.
        self.seen.insert(entry.key.clone(), entry.clone());
        let accepted = self.target.put(&entry);
        if accepted {
            self.accepted.insert(entry.key.clone(), entry);
        }
        accepted
    }

    fn delete(&mut self, key: &str) -> bool {
        if self.seen.remove(key).is_none() {
            return false;
        }
        self.accepted.remove(key);
        self.target.delete(key);
        true
    }

    async fn save(&mut self) {
        let Some(snapshot) = &mut self.snapshot else {
            return;
        };
        if let Err(error) = snapshot.save(self.accepted.values().cloned().collect()).await {
            tracing::warn!(%error, "the configuration snapshot was not written");
        }
    }
}

enum Ended {
    HistoryLost,
    Failed(Error),
}

async fn limited<V>(call: impl Future<Output = Result<V>>) -> Result<V> {
    tokio::time::timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("the config centre did not answer within {CALL_LIMIT:?}"),
        ))
    })
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .without_max_times()
        .build()
}

fn source(key: &str) -> Source {
    Source::ConfigCenter(key.to_owned())
}

fn format_of(key: &str) -> Format {
    Format::of_name(key).unwrap_or(Format::Json)
}

/// One key, one value.
pub(super) struct One<C> {
    reload: HotReload<C>,
}

impl<C> One<C> {
    pub(super) fn new(reload: HotReload<C>) -> Self {
        Self { reload }
    }
}

impl<C: Validate + DeserializeOwned + Send + Sync + 'static> Target for One<C> {
    fn put(&mut self, entry: &ConfigEntry) -> bool {
        self.reload
            .offer(&source(&entry.key), format_of(&entry.key), &entry.value)
            .is_ok()
    }

    fn delete(&mut self, key: &str) {
        let default = Ok(Arc::clone(&self.reload.shared.default));
        // A hook's refusal is recorded under the key, like that of any other value.
        let _ = self.reload.settle(&source(key), default);
    }
}

/// One key per entry of a map.
pub(super) struct Many<C> {
    reload: HotReload<BTreeMap<String, C>>,
    prefix: String,
    /// The good values by key.
    values: BTreeMap<String, C>,
}

impl<C> Many<C> {
    pub(super) fn new(reload: HotReload<BTreeMap<String, C>>, prefix: String) -> Self {
        Self {
            reload,
            prefix,
            values: BTreeMap::new(),
        }
    }

    fn name<'a>(&self, key: &'a str) -> &'a str {
        let name = key.strip_prefix(&self.prefix).unwrap_or(key);
        match name.rsplit_once('.') {
            Some((stem, _)) if Format::of_name(name).is_some() => stem,
            _ => name,
        }
    }
}

impl<C: Validate + DeserializeOwned + Clone + Send + Sync + 'static> Many<C> {
    fn decode(&self, entry: &ConfigEntry) -> Result<C> {
        let name = self.name(&entry.key);
        let rival = self
            .values
            .keys()
            .find(|key| **key != entry.key && self.name(key) == name);
        if let Some(rival) = rival {
            return Err(Error::invalid_config(format!(
                "the key {rival:?} already sets the entry {name:?}; delete one of the two"
            )));
        }
        decode(&source(&entry.key), format_of(&entry.key), &entry.value)
    }

    /// The defaults with the good values over them.
    fn install(&self, key: &str) -> Result<u64> {
        let mut map = BTreeMap::clone(&self.reload.shared.default);
        for (key, value) in &self.values {
            map.insert(self.name(key).to_owned(), value.clone());
        }
        let checked = map.check().map(|()| Arc::new(map));
        self.reload.settle(&source(key), checked)
    }
}

impl<C: Validate + DeserializeOwned + Clone + Send + Sync + 'static> Target for Many<C> {
    fn put(&mut self, entry: &ConfigEntry) -> bool {
        let value = match self.decode(entry) {
            Ok(value) => value,
            Err(error) => {
                self.reload.reject(&source(&entry.key), &error);
                return false;
            }
        };
        let before = self.values.insert(entry.key.clone(), value);
        if self.install(&entry.key).is_ok() {
            return true;
        }
        match before {
            Some(good) => self.values.insert(entry.key.clone(), good),
            None => self.values.remove(&entry.key),
        };
        false
    }

    fn delete(&mut self, key: &str) {
        if self.values.remove(key).is_some() {
            // A hook's refusal is recorded under the key.
            let _ = self.install(key);
        } else {
            // Only a rejected value stood there.
            self.reload.absolve(&source(key));
        }
    }
}
