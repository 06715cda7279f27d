//! One worker of a sink: it gathers documents and writes them, in the order in which they came.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use super::BulkSinkConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::search::{Document, Search, WriteOutcome};

/// A document on its way, with the room that it takes and where its outcome goes.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) document: Document,
    pub(super) bytes: usize,
    pub(super) outcome: oneshot::Sender<Result<bool>>,
    pub(super) room: OwnedSemaphorePermit,
}

/// What a worker is told.
#[derive(Debug)]
pub(super) enum Command {
    Write(Item),
    /// Write what was gathered, then answer.
    Flush(oneshot::Sender<()>),
}

/// Counts since the sink was made.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) written: AtomicU64,
    pub(super) outdated: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Counters {
    /// Documents accepted that have no outcome yet.
    pub(super) fn outstanding(&self) -> u64 {
        let done = self.written.load(Ordering::Acquire)
            + self.outdated.load(Ordering::Acquire)
            + self.failed.load(Ordering::Acquire);
        self.accepted.load(Ordering::Acquire).saturating_sub(done)
    }
}

/// A worker and what it has gathered.
pub(super) struct Worker {
    pub(super) search: Arc<dyn Search>,
    pub(super) index: Arc<str>,
    pub(super) counters: Arc<Counters>,
    pub(super) max_bytes: usize,
    pub(super) max_documents: usize,
    pub(super) interval: Duration,
    gathered: Vec<Item>,
    bytes: usize,
    /// When the oldest of what is gathered must be written.
    due: Instant,
}

impl Worker {
    pub(super) fn new(
        search: Arc<dyn Search>,
        index: Arc<str>,
        counters: Arc<Counters>,
        config: &BulkSinkConfig,
    ) -> Self {
        Self {
            search,
            index,
            counters,
            max_bytes: config.max_batch_bytes,
            max_documents: config.max_batch_documents,
            interval: config.flush_interval,
            gathered: Vec::new(),
            bytes: 0,
            due: Instant::now(),
        }
    }

    /// Works until every sender is gone and everything is written.
    pub(super) async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        loop {
            tokio::select! {
                // Due writes go first: a busy channel must not keep the oldest document waiting.
                biased;
                () = tokio::time::sleep_until(self.due), if !self.gathered.is_empty() => self.write().await,
                command = commands.recv() => match command {
                    Some(Command::Write(item)) => self.gather(item).await,
                    Some(Command::Flush(done)) => {
                        self.write().await;
                        // Whoever asked may have stopped waiting.
                        let _gone = done.send(());
                    }
                    None => {
                        self.write().await;
                        return;
                    }
                },
            }
        }
    }

    async fn gather(&mut self, item: Item) {
        if self.gathered.is_empty() {
            self.due = Instant::now() + self.interval;
        }
        self.bytes += item.bytes;
        self.gathered.push(item);
        if self.bytes >= self.max_bytes || self.gathered.len() >= self.max_documents {
            self.write().await;
        }
    }

    async fn write(&mut self) {
        self.bytes = 0;
        let items = std::mem::take(&mut self.gathered);
        if items.is_empty() {
            return;
        }
        let mut documents = Vec::with_capacity(items.len());
        let mut waiting = Vec::with_capacity(items.len());
        for item in items {
            waiting.push((item.outcome, item.room));
            documents.push(item.document);
        }
        // A backend that panics fails these documents, not the sink.
        let bulk = AssertUnwindSafe(self.search.bulk(&self.index, documents)).catch_unwind();
        let outcomes = bulk.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Internal,
                "the backend panicked during a bulk write; write the documents again",
            ))
        });
        self.report(waiting, outcomes);
    }

    fn report(
        &self,
        waiting: Vec<(oneshot::Sender<Result<bool>>, OwnedSemaphorePermit)>,
        outcomes: Result<Vec<WriteOutcome>>,
    ) {
        let mut failed = 0u64;
        let mut first: Option<Error> = None;
        let mut results = outcomes.map(Vec::into_iter);
        for (reply, room) in waiting {
            let result = match &mut results {
                Ok(outcomes) => outcomes
                    .next()
                    .map_or_else(|| Err(no_outcome()), |outcome| outcome.result),
                Err(error) => Err(error.clone()),
            };
            let counter = match &result {
                Ok(true) => &self.counters.written,
                Ok(false) => &self.counters.outdated,
                Err(error) => {
                    failed += 1;
                    first.get_or_insert_with(|| error.clone());
                    &self.counters.failed
                }
            };
            counter.fetch_add(1, Ordering::AcqRel);
            drop(room);
            // Whoever added the document may not want to know.
            let _unwanted = reply.send(result);
        }
        if let Some(error) = first {
            tracing::warn!(index = &*self.index, failed, first = %error, "documents of a bulk write failed");
        }
    }
}

fn no_outcome() -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        "the backend gave fewer outcomes than there were documents; write the document again",
    )
}
