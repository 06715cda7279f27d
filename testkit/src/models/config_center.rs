//! The configuration centre against a map, and every watch against the events that it should have seen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use infra_core::capability::Capability;
use infra_core::coordination::{ConfigCenter, ConfigEntry, ConfigWrite, Version, WatchScope};
use infra_core::watch::{Watch, WatchEvent};
use infra_core::{Error, ErrorKind, Result};
use proptest::collection::vec;
use proptest::option;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy, Union};

use super::explore::{ModelOptions, explore};
use crate::conformance::{Failure, Outcome, TimeControl};
use crate::{check, check_eq};

/// Keys without the namespace; some begin with others.
const KEYS: [&str; 5] = ["a", "a/b", "a/c", "ab", "é%"];

/// Prefixes, of which some are keys and one is nobody's.
const PREFIXES: [&str; 5] = ["", "a", "a/", "ab", "z"];

/// The configuration centre: versions, conditions, transactions, lists by prefix, and watches whose events, applied in order to what was
/// read when they began, give what is there.
///
/// Transactions are part of it where they are declared.
///
/// # Errors
/// A [`Failure`] with the shortest schedule on which the centre and the model disagree.
pub async fn config_center(
    center: Arc<dyn ConfigCenter>,
    namespace: &str,
    time: TimeControl,
    options: ModelOptions,
) -> Outcome {
    let transactions = center.capabilities().has(Capability::ConfigTransactions);
    let schedules = vec(step(if transactions { 3 } else { 1 }), 1..=options.steps.max(1));
    let bound = match time {
        TimeControl::Virtual => Duration::from_secs(60),
        TimeControl::Real => Duration::from_secs(5),
    };
    explore("configuration centre", options, schedules, |number, steps| {
        let mut play = Play {
            center: center.clone(),
            namespace: format!("{namespace}/{number}/"),
            bound,
            model: BTreeMap::new(),
            past: BTreeMap::new(),
            watches: Vec::new(),
            writes: 0,
            revision: 0,
        };
        async move {
            let outcome = play.run(steps).await;
            play.clean_up().await?;
            outcome
        }
    })
    .await
}

#[derive(Clone)]
enum Step {
    Write(Vec<Change>),
    Read(Scope),
    Watch(Scope),
    StopWatching(usize),
    /// Waits until every watch has seen everything.
    Look,
}

#[derive(Clone, Copy, Debug)]
enum Scope {
    Key(&'static str),
    Prefix(&'static str),
}

/// One write of a transaction; a value is made up, and never the one that is there.
#[derive(Clone, Copy)]
struct Change {
    key: &'static str,
    sets: bool,
    expects: Option<Expects>,
}

/// Which version a write says that the key must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Absent,
    Current,
    Past,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(changes) => write!(f, "write {changes:?}"),
            Self::Read(scope) => write!(f, "read {scope:?}"),
            Self::Watch(scope) => write!(f, "read and watch {scope:?}"),
            Self::StopWatching(number) => write!(f, "drop watch {number}"),
            Self::Look => f.write_str("look at all watches"),
        }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", if self.sets { "set" } else { "delete" }, self.key)?;
        self.expects
            .map_or(Ok(()), |expects| write!(f, " if its version is {expects:?}"))
    }
}

fn step(most_writes: usize) -> impl Strategy<Value = Step> {
    let scope = || {
        Union::new([
            select(&KEYS[..]).prop_map(Scope::Key).boxed(),
            select(&PREFIXES[..]).prop_map(Scope::Prefix).boxed(),
        ])
    };
    let expects = select(vec![Expects::Current, Expects::Absent, Expects::Past]);
    let change = (
        select(&KEYS[..]),
        select(vec![true, true, false]),
        option::of(expects),
    )
        .prop_map(|(key, sets, expects)| Change { key, sets, expects });
    Union::new_weighted(vec![
        (6, vec(change, 1..=most_writes).prop_map(Step::Write).boxed()),
        (1, scope().prop_map(Step::Read).boxed()),
        (1, scope().prop_map(Step::Watch).boxed()),
        (1, (0..4_usize).prop_map(Step::StopWatching).boxed()),
        (1, Just(Step::Look).boxed()),
    ])
}

/// The entries by their full keys.
type Entries = BTreeMap<String, (Bytes, Version)>;

fn by_key(entries: Vec<ConfigEntry>) -> Entries {
    let pairs = entries
        .into_iter()
        .map(|entry| (entry.key, (entry.value, entry.version)));
    pairs.collect()
}

struct Play {
    center: Arc<dyn ConfigCenter>,
    namespace: String,
    bound: Duration,
    model: Entries,
    /// The last version that a key had before the present one.
    past: BTreeMap<String, Version>,
    watches: Vec<Observer>,
    writes: u64,
    revision: u64,
}

/// A watch, and what is known from its events alone.
struct Observer {
    scope: WatchScope,
    watch: Watch<ConfigEntry>,
    entries: Entries,
    /// How many events it should have seen, and has.
    due: usize,
    seen: usize,
}

impl Play {
    async fn run(&mut self, steps: Vec<Step>) -> Outcome {
        for step in steps {
            match step {
                Step::Write(changes) => self.write(&changes).await?,
                Step::Read(scope) => {
                    self.read(&self.scope(scope)).await?;
                }
                Step::Watch(scope) => self.watch(self.scope(scope)).await?,
                Step::StopWatching(number) if number < self.watches.len() => {
                    self.watches.swap_remove(number);
                }
                Step::StopWatching(_) => {}
                Step::Look => self.look().await?,
            }
        }
        self.look().await?;
        self.read(&WatchScope::Prefix(self.namespace.clone()))
            .await
            .map(drop)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.namespace)
    }

    fn scope(&self, scope: Scope) -> WatchScope {
        match scope {
            Scope::Key(key) => WatchScope::Key(self.key(key)),
            Scope::Prefix(prefix) => WatchScope::Prefix(self.key(prefix)),
        }
    }

    fn version(&self, key: &str) -> Version {
        self.model
            .get(key)
            .map_or(Version::ABSENT, |(_, version)| *version)
    }

    /// The model's entries of a scope.
    fn expected(&self, scope: &WatchScope) -> Entries {
        let inside = self.model.iter().filter(|(key, _)| scope.contains(key));
        inside.map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    async fn read(&mut self, scope: &WatchScope) -> Result<Entries, Failure> {
        let (entries, revision) = self.center.read(scope).await?;
        let keys: Vec<_> = entries.iter().map(|entry| entry.key.clone()).collect();
        check!(keys.is_sorted(), "{scope:?} is not ordered by key: {keys:?}");
        let entries = by_key(entries);
        check_eq!(entries, self.expected(scope), "the entries of {scope:?}");
        check!(
            revision >= self.revision,
            "the revision went back from {} to {revision}",
            self.revision
        );
        self.revision = revision;
        Ok(entries)
    }

    async fn write(&mut self, changes: &[Change]) -> Outcome {
        let mut writes = Vec::new();
        for change in changes {
            let key = self.key(change.key);
            let expected = change.expects.map(|expects| match expects {
                Expects::Absent => Version::ABSENT,
                Expects::Current => self.version(&key),
                Expects::Past => self.past.get(&key).copied().unwrap_or(Version(1)),
            });
            self.writes += 1;
            writes.push(match (change.sets, expected) {
                (true, None) => ConfigWrite::set(key, self.writes.to_string()),
                (true, Some(version)) => ConfigWrite::compare_and_set(key, self.writes.to_string(), version),
                (false, None) => ConfigWrite::delete(key),
                (false, Some(version)) => ConfigWrite::compare_and_delete(key, version),
            });
        }
        let answer = self.center.write(writes.clone()).await;
        let twice =
            (1..writes.len()).any(|last| writes[..last].iter().any(|w| w.key() == writes[last].key()));
        if twice {
            return refused(answer, ErrorKind::InvalidArgument, "a key written twice").map(drop);
        }
        let unexpected = |write: &&ConfigWrite| {
            let current = self.version(write.key());
            write.expected().is_some_and(|expected| expected != current)
        };
        if let Some(first) = writes.iter().find(unexpected) {
            let error = refused(
                answer,
                ErrorKind::Conflict,
                "a version that is not the present one",
            )?;
            check!(
                error.to_string().contains(first.key()),
                "the conflict over {:?} does not name it: {error}",
                first.key()
            );
            return Ok(());
        }
        self.apply(&writes, answer?)
    }

    fn apply(&mut self, writes: &[ConfigWrite], version: Version) -> Outcome {
        for write in writes {
            let key = write.key().to_owned();
            let before = self.model.remove(&key).map(|(_, version)| version);
            let newest = before.or_else(|| self.past.get(&key).copied());
            let newest = newest.unwrap_or(Version::ABSENT);
            if let Some(before) = before {
                self.past.insert(key.clone(), before);
            }
            if before.is_none() && write.value().is_none() {
                continue; // neither a change nor an event
            }
            check!(
                version > newest,
                "key {key:?} changed from version {newest} to {version}, which is not greater"
            );
            if let Some(value) = write.value() {
                self.model.insert(key.clone(), (value.clone(), version));
            }
            for observer in self.watches.iter_mut().filter(|watch| watch.scope.contains(&key)) {
                observer.due += 1;
            }
        }
        Ok(())
    }

    async fn watch(&mut self, scope: WatchScope) -> Outcome {
        let entries = self.read(&scope).await?;
        let watch = self.center.watch(&scope, self.revision).await?;
        self.watches.push(Observer {
            scope,
            watch,
            entries,
            due: 0,
            seen: 0,
        });
        Ok(())
    }

    async fn look(&mut self) -> Outcome {
        let mut watches = std::mem::take(&mut self.watches);
        for observer in &mut watches {
            while observer.seen < observer.due {
                let next = tokio::time::timeout(self.bound, observer.watch.next()).await;
                let Ok(Some(event)) = next else {
                    return Err(Failure::broken(format!(
                        "the watch of {:?} has {} of {} events, and then: {next:?}",
                        observer.scope, observer.seen, observer.due
                    )));
                };
                if !observer.take(event)? {
                    observer.entries = self.read(&observer.scope).await?;
                    observer.seen = observer.due;
                }
            }
            check_eq!(
                observer.entries,
                self.expected(&observer.scope),
                "the events of {:?}, applied in order",
                observer.scope
            );
        }
        self.watches = watches;
        Ok(())
    }

    async fn clean_up(&mut self) -> Outcome {
        self.watches.clear();
        let scope = WatchScope::Prefix(self.namespace.clone());
        for entry in self.center.read(&scope).await?.0 {
            self.center.write(vec![ConfigWrite::delete(entry.key)]).await?;
        }
        Ok(())
    }
}

impl Observer {
    /// Applies an event; `false` when the state must be read again.
    fn take(&mut self, event: WatchEvent<ConfigEntry>) -> Result<bool, Failure> {
        self.seen += 1;
        match event {
            WatchEvent::Put(entry) => {
                let before = self
                    .entries
                    .insert(entry.key.clone(), (entry.value, entry.version));
                check!(
                    before.is_none_or(|(_, before)| before < entry.version),
                    "an event of {:?} is older than what was known",
                    entry.key
                );
            }
            WatchEvent::Delete(key) => {
                let before = self.entries.remove(&key);
                check!(before.is_some(), "{key:?} was deleted, which was not there");
            }
            WatchEvent::Reset | WatchEvent::Lagged { .. } => return Ok(false),
            other => return Err(Failure::broken(format!("{other:?} on an open watch"))),
        }
        Ok(true)
    }
}

fn refused(answer: Result<Version>, kind: ErrorKind, why: &str) -> Result<Error, Failure> {
    match answer {
        Err(error) if error.kind() == kind => Ok(error),
        other => Err(Failure::broken(format!("{why}: {other:?}, expected {kind:?}"))),
    }
}
