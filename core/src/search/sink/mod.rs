//! A sink for documents: it takes them one by one and writes them in bulk, over any [`Search`].

mod config;
mod worker;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::{Document, Indexable, Search};
use crate::config::Validate as _;
use crate::error::{Error, ErrorKind, Result};
use worker::{Command, Counters, Item, Worker};

pub use config::BulkSinkConfig;

/// What a document costs beside its body, in bytes.
const OVERHEAD: usize = 64;

/// Gathers documents and writes them in bulk: when enough bytes or documents are gathered, when the oldest has waited
/// long enough, or when asked.
///
/// # Contract
/// - What [`add`](Self::add) accepted is written or reported as failed, once: by its [`Receipt`], and in the log.
/// - Memory is bounded: when the buffer is full, `add` waits.
/// - Documents of one id are written in the order in which they were added, whatever the number of workers.
/// - The sink does not repeat what failed: wrap the [`Search`] in a stack with a retry, bulk writes may be repeated.
/// - Dropping the sink without [`close`](Self::close) lets the workers write what was accepted, as long as the runtime lives.
///
/// ```no_run
/// # async fn example(search: std::sync::Arc<dyn infra_core::search::Search>) -> infra_core::Result<()> {
/// use std::time::Duration;
/// use infra_core::search::{BulkSink, BulkSinkConfig, Document};
///
/// let sink = BulkSink::new(search, "messages", BulkSinkConfig::development())?;
/// let receipt = sink.add(Document::new("1", serde_json::json!({"content": "hello"}))).await?;
/// let written: bool = receipt.await?;
/// sink.close(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
pub struct BulkSink {
    index: Arc<str>,
    /// `None` once the sink is closed.
    workers: RwLock<Option<Vec<mpsc::UnboundedSender<Command>>>>,
    room: Arc<Semaphore>,
    max_buffered_bytes: usize,
    counters: Arc<Counters>,
    tasks: TaskTracker,
}

impl fmt::Debug for BulkSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkSink")
            .field("index", &self.index)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// What a sink has done since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BulkSinkStats {
    /// Documents accepted.
    pub accepted: u64,
    /// Documents written.
    pub written: u64,
    /// Documents left out because a newer version was there.
    pub outdated: u64,
    /// Documents that failed.
    pub failed: u64,
}

/// The outcome of one document, to be awaited or dropped.
///
/// It gives `true` when the document was written, `false` when a newer version was there, and the document's own error
/// otherwise.
#[derive(Debug)]
pub struct Receipt {
    outcome: oneshot::Receiver<Result<bool>>,
}

impl Future for Receipt {
    type Output = Result<bool>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<bool>> {
        let outcome = ready!(Pin::new(&mut self.outcome).poll(context));
        Poll::Ready(outcome.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::OutcomeUnknown,
                "the runtime or the backend ended before the document had an outcome; write it again",
            )
            .at("search", "", "sink"))
        }))
    }
}

impl BulkSink {
    /// Starts the workers of a sink that writes to `index`, on the tokio runtime that calls this.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) with every problem of the configuration, or outside a tokio runtime.
    pub fn new(search: Arc<dyn Search>, index: impl Into<String>, config: BulkSinkConfig) -> Result<Self> {
        config.check()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::invalid_config("a sink needs a tokio runtime; make it inside one").with_source(error)
        })?;
        let index: Arc<str> = index.into().into();
        let counters = Arc::new(Counters::default());
        let tasks = TaskTracker::new();
        let workers = (0..config.workers)
            .map(|_| {
                let (sender, commands) = mpsc::unbounded_channel();
                let worker = Worker::new(search.clone(), index.clone(), counters.clone(), &config);
                tasks.spawn_on(worker.run(commands), &runtime);
                sender
            })
            .collect();
        Ok(Self {
            index,
            workers: RwLock::new(Some(workers)),
            room: Arc::new(Semaphore::new(config.max_buffered_bytes)),
            max_buffered_bytes: config.max_buffered_bytes,
            counters,
            tasks,
        })
    }

    /// Accepts a document; waits while the buffer is full.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) after [`close`](Self::close) began.
    ///
    /// # Cancellation
    /// A document whose `add` was dropped before it returned was not accepted.
    pub async fn add(&self, document: Document) -> Result<Receipt> {
        let bytes = OVERHEAD + document.id.len() + json_bytes(&document.body);
        // A document larger than the whole buffer goes through alone.
        let permits = u32::try_from(bytes.min(self.max_buffered_bytes)).unwrap_or(u32::MAX);
        let room = self
            .room
            .clone()
            .acquire_many_owned(permits)
            .await
            .map_err(|_| self.closed("add"))?;
        let (outcome, receipt) = oneshot::channel();
        let shard = shard(&document.id);
        let item = Item {
            document,
            bytes,
            outcome,
            room,
        };
        let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
        let Some(workers) = workers.as_ref().filter(|workers| !workers.is_empty()) else {
            return Err(self.closed("add"));
        };
        self.counters.accepted.fetch_add(1, Ordering::AcqRel);
        if workers[shard % workers.len()].send(Command::Write(item)).is_err() {
            self.counters.failed.fetch_add(1, Ordering::AcqRel);
            return Err(self.closed("add"));
        }
        Ok(Receipt { outcome: receipt })
    }

    /// Accepts a value as a document; waits while the buffer is full.
    ///
    /// # Errors
    /// As [`add`](Self::add), and [`InvalidArgument`](ErrorKind::InvalidArgument) when it is not a JSON object.
    ///
    /// # Cancellation
    /// As [`add`](Self::add).
    pub async fn index<T: Indexable + Sync + ?Sized>(&self, value: &T) -> Result<Receipt> {
        self.add(Document::of(value)?).await
    }

    /// Waits until everything accepted before this call was written or has failed.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) says how many documents were still on their way; they stay accepted.
    /// [`Closed`](ErrorKind::Closed) after [`close`](Self::close) began.
    ///
    /// # Cancellation
    /// The documents stay accepted.
    pub async fn flush(&self, deadline: Duration) -> Result<()> {
        let mut waiting = Vec::new();
        {
            let workers = self.workers.read().unwrap_or_else(PoisonError::into_inner);
            for worker in workers.as_ref().ok_or_else(|| self.closed("flush"))? {
                let (done, wait) = oneshot::channel();
                if worker.send(Command::Flush(done)).is_ok() {
                    waiting.push(wait);
                }
            }
        }
        let all = async {
            for wait in waiting {
                // A worker that is gone has nothing left to write.
                let _ended = wait.await;
            }
        };
        tokio::time::timeout(deadline, all)
            .await
            .map_err(|_| self.timeout("flush", deadline))
    }

    /// Takes no more documents, writes what was accepted, and ends the workers.
    ///
    /// Closing again waits again; closing what is closed succeeds.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) says how many documents were still on their way; the workers go on with them.
    ///
    /// # Cancellation
    /// The sink stays closed to new documents; the workers go on. Call it again to wait for them.
    pub async fn close(&self, deadline: Duration) -> Result<()> {
        self.workers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.room.close();
        self.tasks.close();
        tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .map_err(|_| self.timeout("close", deadline))
    }

    /// What the sink has done so far.
    #[must_use]
    pub fn stats(&self) -> BulkSinkStats {
        BulkSinkStats {
            accepted: self.counters.accepted.load(Ordering::Acquire),
            written: self.counters.written.load(Ordering::Acquire),
            outdated: self.counters.outdated.load(Ordering::Acquire),
            failed: self.counters.failed.load(Ordering::Acquire),
        }
    }

    fn closed(&self, operation: &'static str) -> Error {
        Error::closed(&format!("the sink of index {:?}", self.index)).at("search", "", operation)
    }

    fn timeout(&self, operation: &'static str, deadline: Duration) -> Error {
        let outstanding = self.counters.outstanding();
        Error::new(
            ErrorKind::Timeout,
            format!(
                "{outstanding} documents of index {:?} were not written after {deadline:?}; they stay accepted, wait again",
                self.index
            ),
        )
        .at("search", "", operation)
    }
}

/// One worker for all documents of an id, so that they keep their order.
fn shard(id: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    usize::try_from(hasher.finish() & 0xffff).unwrap_or(0)
}

/// About as many bytes as the JSON of the value has; without recursion, since bodies come from anywhere.
fn json_bytes(value: &Value) -> usize {
    let mut bytes = 0;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        bytes += match value {
            Value::Null | Value::Bool(_) => 5,
            Value::Number(_) => 10,
            Value::String(text) => text.len() + 3,
            Value::Array(values) => {
                open.extend(values);
                2
            }
            Value::Object(fields) => {
                open.extend(fields.values());
                2 + fields.keys().map(|key| key.len() + 4).sum::<usize>()
            }
        };
    }
    bytes
}
