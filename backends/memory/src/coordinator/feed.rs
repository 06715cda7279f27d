//! A bounded history of changes, and the watches that follow it.
//!
//! Both the registry and the configuration centre publish here, under the lock of their own state, so that a change and
//! its event are one step.

use std::collections::VecDeque;

use infra_core::coordination::WatchScope;
use infra_core::watch::{self, Watch, WatchEvent, WatchSink};
use infra_core::{Error, ErrorKind, Result};

/// The most payload bytes that the history keeps alive.
const HISTORY_BYTES: usize = 16 * 1024 * 1024;

/// How large histories and watches may grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct FeedLimits {
    pub(super) history: usize,
    pub(super) watches: usize,
    pub(super) buffer: usize,
}

/// The changes of one kind of state, numbered by revision.
#[derive(Debug)]
pub(super) struct Feed<T> {
    limits: FeedLimits,
    revision: u64,
    /// Changes up to this revision may be gone.
    forgotten: u64,
    history: VecDeque<Change<T>>,
    history_bytes: usize,
    followers: Vec<Follower<T>>,
}

#[derive(Debug)]
struct Change<T> {
    revision: u64,
    topic: String,
    event: WatchEvent<T>,
    bytes: usize,
}

#[derive(Debug)]
struct Follower<T> {
    client: u64,
    scope: WatchScope,
    sink: WatchSink<T>,
}

impl<T: Clone> Feed<T> {
    pub(super) fn new(limits: FeedLimits) -> Self {
        Self {
            limits,
            revision: 0,
            forgotten: 0,
            history: VecDeque::new(),
            history_bytes: 0,
            followers: Vec::new(),
        }
    }

    /// The revision of the last change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Begins a change of one or several things; all that is published until the next one carries this revision.
    pub(super) fn advance(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// Tells watches of a change to `topic`, and remembers it; `bytes` is what remembering costs.
    pub(super) fn publish(&mut self, topic: &str, event: WatchEvent<T>, bytes: usize) {
        self.followers
            .retain(|follower| !follower.scope.contains(topic) || follower.sink.push(event.clone()));
        self.history_bytes += bytes;
        self.history.push_back(Change {
            revision: self.revision,
            topic: topic.to_owned(),
            event,
            bytes,
        });
        while self.history.len() > self.limits.history || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.history_bytes -= oldest.bytes;
            self.forgotten = oldest.revision;
        }
    }

    /// Opens a watch that continues after `revision`.
    pub(super) fn watch(&mut self, client: u64, scope: WatchScope, revision: u64) -> Result<Watch<T>> {
        if self.followers.len() >= self.limits.watches {
            self.followers.retain(|follower| !follower.sink.is_abandoned());
        }
        if self.followers.len() >= self.limits.watches {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "all {} watches are taken; drop some, or configure more",
                    self.limits.watches
                ),
            )
            .without_effect());
        }
        let known = (self.forgotten..=self.revision).contains(&revision);
        let missed: Vec<_> = self
            .history
            .iter()
            .filter(|change| known && change.revision > revision && scope.contains(&change.topic))
            .map(|change| change.event.clone())
            .collect();
        let (sink, watch) = watch::channel(self.limits.buffer.saturating_add(missed.len()));
        if !known {
            sink.push(WatchEvent::Reset);
        }
        for event in missed {
            sink.push(event);
        }
        self.followers.push(Follower { client, scope, sink });
        Ok(watch)
    }

    /// Ends the watches of a client that shuts down.
    pub(super) fn close(&mut self, client: u64) {
        self.followers.retain(|follower| {
            if follower.client == client {
                follower.sink.close(Error::closed("this coordinator"));
            }
            follower.client != client
        });
    }

    /// Ends every watch with this error.
    pub(super) fn close_all(&mut self, error: &Error) {
        for follower in self.followers.drain(..) {
            follower.sink.close(error.clone());
        }
    }

    /// Forgets all history and tells every watch so.
    pub(super) fn forget(&mut self) {
        self.history.clear();
        self.history_bytes = 0;
        self.forgotten = self.revision;
        self.followers
            .retain(|follower| follower.sink.push(WatchEvent::Reset));
    }

    /// How many watches are open.
    pub(super) fn watches(&self) -> usize {
        self.followers
            .iter()
            .filter(|follower| !follower.sink.is_abandoned())
            .count()
    }
}
