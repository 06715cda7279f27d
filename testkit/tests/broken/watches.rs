//! Watches that are broken on purpose.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use infra_core::coordination::{ConfigCenter, ConfigEntry, ConfigWrite, Version, WatchScope};
use infra_core::watch::{self, Watch, WatchEvent, WatchSink};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_memory::MemoryCoordinator;
use infra_testkit::conformance::{self, Breakage, prove};
use tokio_util::sync::CancellationToken;

use crate::coordinator;
use crate::support::{backend_of_inner, locked};

pub(crate) const FAMILY: &str = "watches";

/// Wider than any scenario writes.
const WIDE: usize = 100_000;

/// How often a watch that is impatient looks around.
const LOOK: Duration = Duration::from_millis(10);

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::watches::SCENARIOS,
        &[
            broken("WATCH-001", Defect::DeletionIsEmptyValue, "tells of a deletion as of an empty value"),
            broken("WATCH-002", Defect::RepeatsLatecomers, "tells twice of a key that changes after another did"),
            broken("WATCH-003", Defect::MissesLaterKeys, "follows the keys that were there"),
            broken("WATCH-004", Defect::ResetsInSilence, "takes a silence for lost history"),
            broken("WATCH-005", Defect::LosesInSilence, "loses what a slow reader did not read, and does not say so"),
            broken("WATCH-006", Defect::HidesLostHistory, "goes on after lost history as if nothing was missed"),
            broken("WATCH-007", Defect::EndsAsUnavailable, "calls every end an unreachable server"),
            broken("WATCH-008", Defect::NoticesDropsLate, "unsubscribes when there is something to tell"),
            broken("WATCH-009", Defect::BeginsNow, "begins with the present instead of the snapshot"),
            broken("WATCH-010", Defect::HidesBadValues, "tells only of values that are JSON"),
            broken("WATCH-011", Defect::EndsItsSiblings, "ends all watches of a key with the first"),
            broken("WATCH-012", Defect::WaitsForTheRevision, "takes a revision that was never reached for the last one"),
            broken("WATCH-013", Defect::OneEventPerRevision, "tells of one key of a transaction"),
            broken("WATCH-014", Defect::EndsWithTheConnection, "ends a watch when the server is away"),
            broken("WATCH-015", Defect::HidesShutdown, "leaves watches open after shutdown"),
            broken("WATCH-016", Defect::TakesAnyRevision, "begins with the present where the past is gone"),
            broken("WATCH-017", Defect::LosesWhileCutOff, "loses what changes while its client is cut off"),
            broken("WATCH-018", Defect::ReadsItsCache, "answers every reading of a scope with the first"),
            broken("WATCH-019", Defect::AwayIsForEver, "calls an unreachable server an internal error"),
            broken("WATCH-020", Defect::TellsLate, "tells of each change two seconds later"),
            broken("WATCH-021", Defect::HidesBadValuesBelow, "tells nothing of numbers below zero that change below a prefix"),
            broken("WATCH-022", Defect::DeletionIsEmptyValueBelow, "tells of a deletion below a prefix as of an empty value"),
            broken("WATCH-023", Defect::AwayIsForEverBelow, "calls an unreachable server an internal error when a prefix is read"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    DeletionIsEmptyValue,
    RepeatsLatecomers,
    MissesLaterKeys,
    ResetsInSilence,
    LosesInSilence,
    HidesLostHistory,
    EndsAsUnavailable,
    NoticesDropsLate,
    BeginsNow,
    HidesBadValues,
    EndsItsSiblings,
    WaitsForTheRevision,
    OneEventPerRevision,
    EndsWithTheConnection,
    HidesShutdown,
    TakesAnyRevision,
    LosesWhileCutOff,
    ReadsItsCache,
    AwayIsForEver,
    TellsLate,
    HidesBadValuesBelow,
    DeletionIsEmptyValueBelow,
    AwayIsForEverBelow,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn ConfigCenter> {
    Breakage::new(breaks, words, move |_setup| async move {
        let server = coordinator::fixture(MemoryCoordinator::new());
        Ok(server.map(move |inner| {
            Arc::new(Center {
                inner: MemoryCoordinator::clone(&inner),
                defect,
                dropped: Mutex::default(),
                cache: Mutex::default(),
            }) as Arc<dyn ConfigCenter>
        }))
    })
}

/// A client whose watches do one thing wrong.
#[derive(Debug)]
struct Center {
    inner: MemoryCoordinator,
    defect: Defect,
    /// By scope: one of its watches was dropped.
    dropped: Mutex<HashMap<WatchScope, CancellationToken>>,
    /// By scope: what was read first.
    cache: Mutex<HashMap<WatchScope, (Vec<ConfigEntry>, u64)>>,
}

/// One watch on its way through the defect.
struct Relay {
    center: MemoryCoordinator,
    /// A connection that no scenario cuts.
    elsewhere: MemoryCoordinator,
    defect: Defect,
    /// Whether a prefix is watched, and not one key.
    below: bool,
    dropped: CancellationToken,
    known: BTreeSet<String>,
    last_key: Option<String>,
    last_version: Version,
}

impl Relay {
    async fn run(mut self, mut events: Watch<ConfigEntry>, sink: WatchSink<ConfigEntry>) {
        let mut silence = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = sink.abandoned(), if self.defect != Defect::NoticesDropsLate => {
                    if self.defect == Defect::EndsItsSiblings {
                        self.dropped.cancel();
                    }
                    return;
                }
                () = self.dropped.cancelled() => return,
                event = events.next() => {
                    silence = Duration::ZERO;
                    let Some(event) = event else { return };
                    if self.defect == Defect::LosesWhileCutOff && self.center.health().await.is_err() {
                        continue;
                    }
                    if self.defect == Defect::HidesShutdown
                        && matches!(&event, WatchEvent::Closed(error) if error.kind() == ErrorKind::Closed)
                    {
                        return sink.abandoned().await;
                    }
                    if self.defect == Defect::TellsLate && matches!(event, WatchEvent::Put(_)) {
                        tokio::time::sleep(Duration::from_secs(2)).await;
                    }
                    if !self.tell(event, &sink) {
                        return;
                    }
                }
                () = tokio::time::sleep(LOOK), if self.is_impatient() => {
                    silence += LOOK;
                    if self.defect == Defect::ResetsInSilence && silence == Duration::from_secs(60) {
                        sink.push(WatchEvent::Reset);
                    }
                    if self.defect == Defect::EndsWithTheConnection
                        && let Err(error) = self.elsewhere.health().await
                        && error.kind() == ErrorKind::Unavailable
                    {
                        return sink.close(error);
                    }
                }
            }
        }
    }

    fn is_impatient(&self) -> bool {
        matches!(
            self.defect,
            Defect::ResetsInSilence | Defect::EndsWithTheConnection
        )
    }

    /// Whether the reader is still there.
    fn tell(&mut self, event: WatchEvent<ConfigEntry>, sink: &WatchSink<ConfigEntry>) -> bool {
        let mut copies = 1;
        let event = match (self.defect, event) {
            (_, WatchEvent::Closed(error)) => {
                let said = match self.defect {
                    Defect::EndsAsUnavailable if error.kind() != ErrorKind::Closed => {
                        Error::new(ErrorKind::Unavailable, "the connection is gone")
                    }
                    _ => error,
                };
                sink.close(said);
                return false;
            }
            (Defect::DeletionIsEmptyValue, WatchEvent::Delete(key)) if !self.below => {
                WatchEvent::Put(ConfigEntry::new(key, Vec::new().into(), Version::ABSENT))
            }
            (Defect::DeletionIsEmptyValueBelow, WatchEvent::Delete(key)) if self.below => {
                WatchEvent::Put(ConfigEntry::new(key, Vec::new().into(), Version::ABSENT))
            }
            (Defect::LosesInSilence, WatchEvent::Lagged { .. })
            | (Defect::HidesLostHistory, WatchEvent::Reset) => return true,
            (defect, WatchEvent::Put(entry)) => {
                copies = self.copies(defect, &entry);
                WatchEvent::Put(entry)
            }
            (_, event) => event,
        };
        (0..copies).all(|_| sink.push(event.clone()))
    }

    /// How often a value is told.
    fn copies(&mut self, defect: Defect, entry: &ConfigEntry) -> usize {
        let other = self.last_key.replace(entry.key.clone());
        let came_back = other.is_some_and(|other| other != entry.key) && self.known.contains(&entry.key);
        let same_version = std::mem::replace(&mut self.last_version, entry.version) == entry.version;
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&entry.value).is_ok();
        match defect {
            Defect::RepeatsLatecomers => {
                let new = self.known.insert(entry.key.clone());
                if came_back && !new { 2 } else { 1 }
            }
            Defect::MissesLaterKeys => usize::from(self.known.contains(&entry.key)),
            Defect::OneEventPerRevision => usize::from(!same_version),
            Defect::HidesBadValues => usize::from(is_json),
            Defect::HidesBadValuesBelow => {
                let negative = entry.value.windows(2).any(|pair| pair == b"-1");
                usize::from(!(self.below && negative))
            }
            _ => 1,
        }
    }
}

backend_of_inner!(Center);

impl Center {
    fn takes_away_for_ever(&self, scope: &WatchScope) -> bool {
        match scope {
            WatchScope::Prefix(_) => self.defect == Defect::AwayIsForEverBelow,
            _ => self.defect == Defect::AwayIsForEver,
        }
    }
}

#[async_trait]
impl ConfigCenter for Center {
    async fn read(&self, scope: &WatchScope) -> Result<(Vec<ConfigEntry>, u64)> {
        let cached = locked(&self.cache).get(scope).cloned();
        if let Some(answer) = cached.filter(|_| self.defect == Defect::ReadsItsCache) {
            return Ok(answer);
        }
        match self.inner.read(scope).await {
            Ok(answer) => {
                locked(&self.cache).insert(scope.clone(), answer.clone());
                Ok(answer)
            }
            Err(error) if self.takes_away_for_ever(scope) && error.kind() == ErrorKind::Unavailable => {
                Err(Error::new(ErrorKind::Internal, "connection refused"))
            }
            error => error,
        }
    }

    async fn write(&self, writes: Vec<ConfigWrite>) -> Result<Version> {
        self.inner.write(writes).await
    }

    async fn watch(&self, scope: &WatchScope, revision: u64) -> Result<Watch<ConfigEntry>> {
        // Asking a server takes its time, in which others write.
        tokio::task::yield_now().await;
        let (entries, now) = self.inner.read(scope).await?;
        let from = match self.defect {
            Defect::WaitsForTheRevision => revision.min(now),
            _ => revision,
        };
        let known = match self.defect {
            // A single key is followed whether it is there or not.
            Defect::MissesLaterKeys => match scope {
                WatchScope::Key(key) => BTreeSet::from([key.clone()]),
                _ => entries.into_iter().map(|entry| entry.key).collect(),
            },
            _ => BTreeSet::new(),
        };
        let mut events = self.inner.watch(scope, from).await?;
        let mut begin = events.next().now_or_never().flatten();
        let unknown = matches!(begin, Some(WatchEvent::Reset));
        match self.defect {
            Defect::BeginsNow if !unknown => {
                events = self.inner.watch(scope, now).await?;
                begin = None;
            }
            Defect::TakesAnyRevision if unknown && revision <= now => begin = None,
            _ => {}
        }
        let (sink, watch) = watch::channel(WIDE);
        let dropped = {
            let mut dropped = locked(&self.dropped);
            dropped.entry(scope.clone()).or_default().clone()
        };
        let mut relay = Relay {
            center: self.inner.clone(),
            elsewhere: self.inner.connect(),
            defect: self.defect,
            below: matches!(scope, WatchScope::Prefix(_)),
            dropped,
            known,
            last_key: None,
            last_version: Version::ABSENT,
        };
        match begin {
            // A watch that begins in another life says so, whatever it hides later.
            Some(WatchEvent::Reset) => drop(sink.push(WatchEvent::Reset)),
            Some(event) => drop(relay.tell(event, &sink)),
            None => {}
        }
        tokio::spawn(relay.run(events, sink));
        Ok(watch)
    }
}
