//! Watching by blocking queries: an agent answers when something has changed, with the whole of what is there, and the difference to
//! what was there before is told.
//!
//! Consul keeps no history. What changed several times between two answers is told once, as what it became; nothing is left out of
//! what it became.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use infra_core::async_trait;
use infra_core::error::{Error, Result};
use infra_core::watch::{self, Watch, WatchEvent, WatchSink};

use crate::BACKEND;
use crate::client::Client;

mod together;

pub(crate) use together::Together;

/// The pause before asking again after a failure; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An agent may answer although nothing of ours has changed, since something beside it has. So many of such answers are free; then
/// the pause before asking again grows, and stays far below the second in which a change is to be told.
const FREE_ANSWERS: u32 = 8;
const FIRST_PATIENCE: Duration = Duration::from_millis(5);
const LONGEST_PATIENCE: Duration = Duration::from_millis(250);

/// What is watched.
#[async_trait]
pub(crate) trait Source: Send + Sync + 'static {
    /// One of the things in it.
    type Item: Clone + PartialEq + Send + 'static;

    /// What tells it from every other source.
    fn name(&self) -> &str;

    /// Whether there is one thing in it at the most.
    fn is_single(&self) -> bool;

    /// What is there: at once for index 0, else when the index is greater than this one, or after `wait`.
    async fn read(&self, client: &Client, index: u64, wait: Duration) -> Result<State<Self::Item>>;

    /// The source that this one is a part of, if it may be watched together with the others in it.
    fn whole(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// The part of the [`whole`](Source::whole) that is in this source.
    fn part(&self, whole: &State<Self::Item>) -> State<Self::Item> {
        whole.clone()
    }

    /// How many bytes of a thing are read with the whole.
    fn size(_item: &Self::Item) -> usize {
        0
    }
}

/// What was there at one index.
#[derive(Debug, Clone)]
pub(crate) struct State<T> {
    pub(crate) index: u64,
    /// By key or id, each with the index of its last change.
    pub(crate) items: BTreeMap<String, (u64, T)>,
}

/// What recent readings saw, so that a watch from there knows what has gone since.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    recent: Mutex<VecDeque<Reading>>,
}

#[derive(Debug)]
struct Reading {
    name: String,
    index: u64,
    /// By key or id, the index of its last change.
    seen: BTreeMap<String, u64>,
}

/// So many readings of so many things are remembered; a watch from any other begins with a reset if anything has changed.
const READINGS: usize = 128;
const THINGS: usize = 1_024;

impl Readings {
    /// Remembers what a reading saw.
    pub(crate) fn note<T>(&self, name: &str, state: &State<T>) {
        if state.items.len() > THINGS {
            return;
        }
        let reading = Reading {
            name: name.to_owned(),
            index: state.index,
            seen: state
                .items
                .iter()
                .map(|(key, (changed, _))| (key.clone(), *changed))
                .collect(),
        };
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|other| other.name != reading.name || other.index != reading.index);
        if recent.len() >= READINGS {
            recent.pop_front();
        }
        recent.push_back(reading);
    }

    fn recall(&self, name: &str, index: u64) -> Option<BTreeMap<String, u64>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = recent
            .iter()
            .rev()
            .find(|reading| reading.index == index && reading.name == name);
        reading.map(|reading| reading.seen.clone())
    }
}

/// Watches a source from just after `revision`.
pub(crate) async fn open<S: Source>(
    client: &Client,
    source: S,
    readings: &Readings,
    together: Option<&Arc<Together<S>>>,
    revision: u64,
) -> Result<Watch<S::Item>> {
    let state = source.read(client, 0, Duration::ZERO).await?;
    let (sink, watch) = watch::channel(client.config().watch_buffer);
    let seen = readings.recall(source.name(), revision);
    for event in beginning(&state, seen.as_ref(), revision, source.is_single()) {
        sink.push(event);
    }
    let follower = Follower {
        client: client.clone(),
        source,
        state,
        sink,
        together: together.cloned(),
    };
    tokio::spawn(follower.follow());
    Ok(watch)
}

/// What is told first: what has changed since the revision, or that this cannot be known.
fn beginning<T: Clone>(
    state: &State<T>,
    seen: Option<&BTreeMap<String, u64>>,
    revision: u64,
    single: bool,
) -> Vec<WatchEvent<T>> {
    let later = |before: Option<&u64>, changed: u64| match before {
        Some(before) => *before != changed,
        None => seen.is_some() || changed > revision,
    };
    let mut changed: Vec<(u64, &T)> = state
        .items
        .iter()
        .filter(|(key, (changed, _))| later(seen.and_then(|seen| seen.get(*key)), *changed))
        .map(|(_, (changed, item))| (*changed, item))
        .collect();
    changed.sort_by_key(|(changed, _)| *changed);
    let mut gone = Vec::new();
    for key in seen.into_iter().flat_map(BTreeMap::keys) {
        if !state.items.contains_key(key) {
            gone.push(WatchEvent::Delete(key.clone()));
        }
    }
    let another_life = state.index < revision && (seen.is_none() || !changed.is_empty() || !gone.is_empty());
    // Where nothing is known of before, what went since is not known either; of one key that is there, nothing went.
    let unknown = seen.is_none() && state.index > revision && (!single || state.items.is_empty());
    if another_life {
        return vec![WatchEvent::Reset];
    }
    let reset = unknown.then_some(WatchEvent::Reset);
    let changed = changed.into_iter().map(|(_, item)| WatchEvent::Put(item.clone()));
    reset.into_iter().chain(gone).chain(changed).collect()
}

/// What is told of the difference between two states: what has gone, then what has changed, in the order of the changes.
fn difference<T: Clone + PartialEq>(before: &State<T>, now: &State<T>) -> Vec<WatchEvent<T>> {
    let mut changed: Vec<(u64, &T)> = now
        .items
        .iter()
        .filter(|(key, (_, item))| before.items.get(*key).is_none_or(|(_, old)| old != item))
        .map(|(_, (changed, item))| (*changed, item))
        .collect();
    changed.sort_by_key(|(changed, _)| *changed);
    let gone = before.items.keys().filter(|key| !now.items.contains_key(*key));
    let events: Vec<WatchEvent<T>> = gone
        .map(|key| WatchEvent::Delete(key.clone()))
        .chain(changed.into_iter().map(|(_, item)| WatchEvent::Put(item.clone())))
        .collect();
    if now.index < before.index && !events.is_empty() {
        // The server began anew, or from an older copy of its data: its indexes do not follow on those before.
        return vec![WatchEvent::Reset];
    }
    events
}

/// Follows one source for one reader.
struct Follower<S: Source> {
    client: Client,
    source: S,
    state: State<S::Item>,
    sink: WatchSink<S::Item>,
    together: Option<Arc<Together<S>>>,
}

impl<S: Source> Follower<S> {
    async fn follow(mut self) {
        let closed = self.client.closed().clone();
        let mut pace = Pace::default();
        loop {
            if let Some(together) = self.together.clone().filter(|_| pace.failures == 0) {
                match together.take(self) {
                    Some(alone) => self = alone,
                    None => return,
                }
            }
            let asked = tokio::select! {
                biased;
                () = closed.cancelled() => return self.sink.close(Error::closed("the client of Consul")),
                () = self.sink.abandoned() => return,
                asked = Self::ask(&self.client, &self.source, self.state.index, &mut pace) => asked,
            };
            match asked {
                Ok(now) => match self.tell(now) {
                    Some(something_new) => pace.answered(something_new),
                    None => return,
                },
                Err(error) if error.may_pass() => {
                    tracing::debug!(%error, watched = self.source.name(), "a watch is interrupted; asking again");
                    pace.failed();
                }
                Err(error) => return self.sink.close(error.at("watch", BACKEND, "watch")),
            }
        }
    }

    /// Tells the reader of what is there now; whether that is something new, or `None` if nobody reads any more.
    fn tell(&mut self, now: State<S::Item>) -> Option<bool> {
        let events = difference(&self.state, &now);
        let something_new = !events.is_empty();
        self.state = now;
        let read = events.into_iter().all(|event| self.sink.push(event));
        (read && !self.sink.is_abandoned()).then_some(something_new)
    }

    /// Asks for what is there when it has changed, after the pause that is due.
    async fn ask(client: &Client, source: &S, index: u64, pace: &mut Pace) -> Result<State<S::Item>> {
        tokio::time::sleep(pace.pause()).await;
        // After a failure another server may answer, which waits for an index that it never reached.
        let index = if pace.failures > 0 { 0 } else { index };
        source.read(client, index, client.config().watch_wait).await
    }
}

/// When to ask again.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    /// Answers in a row that told nothing new.
    idle: u32,
}

impl Pace {
    fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    fn answered(&mut self, something_new: bool) {
        self.failures = 0;
        self.idle = if something_new {
            0
        } else {
            self.idle.saturating_add(1)
        };
    }

    /// The pause that is due, at random by half, so that those who failed together do not come back together.
    fn pause(&self) -> Duration {
        let doubled = |first: Duration, times: u32, longest: Duration| {
            first
                .saturating_mul(1 << times.min(16))
                .min(longest)
                .mul_f64(0.5 + fastrand::f64() / 2.0)
        };
        if self.failures > 0 {
            doubled(FIRST_PAUSE, self.failures - 1, LONGEST_PAUSE)
        } else if self.idle > FREE_ANSWERS {
            doubled(FIRST_PATIENCE, self.idle - FREE_ANSWERS, LONGEST_PATIENCE)
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(index: u64, items: &[(&str, u64)]) -> State<u64> {
        let items = items
            .iter()
            .map(|(key, changed)| ((*key).to_owned(), (*changed, *changed)));
        State {
            index,
            items: items.collect(),
        }
    }

    fn told<T: std::fmt::Debug>(events: &[WatchEvent<T>]) -> String {
        let told = events.iter().map(|event| match event {
            WatchEvent::Put(item) => format!("{item:?}"),
            WatchEvent::Delete(key) => format!("-{key}"),
            other => format!("{other:?}"),
        });
        told.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_watch_begins_with_what_has_changed_since_its_reading() {
        let before = state(7, &[("a", 3), ("b", 7)]);
        let readings = Readings::default();
        readings.note("folder", &before);
        let seen = readings.recall("folder", 7);
        assert!(
            seen.is_some() && readings.recall("folder", 8).is_none() && readings.recall("other", 7).is_none()
        );
        for (now, expected) in [
            (state(7, &[("a", 3), ("b", 7)]), ""),
            // Consul forgets deletions after a while: then the index of what is left goes back.
            (state(3, &[("a", 3), ("b", 7)]), ""),
            (state(9, &[("a", 9), ("b", 8)]), "8 9"),
            (state(9, &[("b", 7), ("c", 9)]), "-a 9"),
            (state(2, &[("a", 2)]), "Reset"),
        ] {
            assert_eq!(
                told(&beginning(&now, seen.as_ref(), 7, false)),
                expected,
                "{now:?}"
            );
        }
    }

    #[test]
    fn a_watch_from_what_nobody_remembers_says_so_where_something_may_have_gone() {
        for (now, single, expected) in [
            (state(7, &[("a", 3)]), false, ""),
            (state(9, &[("a", 3), ("b", 9)]), false, "Reset 9"),
            (state(9, &[("a", 9)]), true, "9"),
            (state(9, &[]), true, "Reset"),
            (state(6, &[("a", 3)]), false, "Reset"),
        ] {
            assert_eq!(told(&beginning(&now, None, 7, single)), expected, "{now:?}");
        }
    }

    #[test]
    fn the_difference_is_told_in_the_order_of_the_changes() {
        let before = state(7, &[("a", 3), ("b", 7)]);
        for (now, expected) in [
            (state(8, &[("a", 3), ("b", 7)]), ""),
            (state(9, &[("a", 9), ("b", 8)]), "8 9"),
            (state(9, &[("a", 3), ("c", 9)]), "-b 9"),
            (state(3, &[("a", 3), ("b", 7)]), ""),
            (state(4, &[("a", 4)]), "Reset"),
            (state(1, &[]), "Reset"),
        ] {
            assert_eq!(told(&difference(&before, &now)), expected, "{now:?}");
        }
    }

    #[test]
    fn readings_are_bounded() {
        let readings = Readings::default();
        for index in 1..=READINGS as u64 + 1 {
            readings.note("folder", &state(index, &[]));
        }
        assert!(readings.recall("folder", 1).is_none());
        assert!(readings.recall("folder", 2).is_some());
        let many = (0..=THINGS).map(|number| (number.to_string(), (1, 1)));
        let many = State {
            index: 1_000,
            items: many.collect(),
        };
        readings.note("folder", &many);
        assert!(readings.recall("folder", 1_000).is_none());
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut pace = Pace::default();
        assert_eq!(pace.pause(), Duration::ZERO);
        for _ in 0..40 {
            pace.failed();
            assert!(pace.pause() > Duration::ZERO && pace.pause() <= LONGEST_PAUSE);
        }
        assert!(pace.pause() >= LONGEST_PAUSE / 2);
        for _ in 0..40 {
            pace.answered(false);
        }
        assert!(pace.pause() >= LONGEST_PATIENCE / 2 && pace.pause() <= LONGEST_PATIENCE);
        pace.answered(true);
        assert_eq!(pace.pause(), Duration::ZERO);
    }
}
