//! The bounded queue between those who log and the thread that writes.
//!
//! A thread of its own rather than `tracing-appender`: that one gives up on a full queue after 100 ms when the program ends,
//! and neither counts nor tells lines that could not be written.

use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// How many lines the thread takes at a time.
const BATCH: usize = 256;

/// How long the end of the program waits for lines to be written, if the output takes them at all.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// Takes lines and never waits.
#[derive(Clone)]
pub(super) struct LineQueue {
    shared: Arc<Shared>,
}

struct Shared {
    capacity: usize,
    state: Mutex<State>,
    /// Lines were added, or the queue was closed.
    filled: Condvar,
    /// Lines were written, or the thread ended.
    drained: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// Taken by the thread, not written yet.
    in_flight: usize,
    accepted: u64,
    /// Written, or failed to be.
    settled: u64,
    dropped: u64,
    closed: bool,
    ended: bool,
}

impl LineQueue {
    /// Starts the writing thread.
    pub(super) fn start(output: Box<dyn Write + Send>, capacity: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            capacity,
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        });
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || {
                let _ended = Ended(&thread);
                thread.write_until_closed(output);
            })
            .map_err(|error| {
                Error::new(
                    ErrorKind::ResourceExhausted,
                    format!("the log's thread cannot be started: {error}"),
                )
                .with_source(error)
                .at("log", "", "init")
            })?;
        Ok(Self { shared })
    }

    /// Queues a line, or drops and counts it.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.shared.lock();
        if state.closed || state.ended || state.lines.len() + state.in_flight >= self.shared.capacity {
            state.dropped += 1;
            return;
        }
        state.accepted += 1;
        state.lines.push_back(line);
        let first = state.lines.len() == 1;
        drop(state);
        if first {
            self.shared.filled.notify_one();
        }
    }

    /// How many lines never reached the output.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }

    /// Waits until everything accepted so far is written; false when that took longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        let wanted = state.accepted;
        while state.settled < wanted && !state.ended {
            let Some(left) = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return false;
            };
            state = self
                .shared
                .drained
                .wait_timeout(state, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
        state.settled >= wanted
    }

    /// Takes no more lines and writes those that were accepted.
    pub(super) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        if !self.flush(LAST_FLUSH) {
            complain("the log's output did not take the last lines in time");
        }
    }
}

impl fmt::Debug for LineQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("LineQueue")
            .field("waiting", &state.lines.len())
            .field("dropped", &state.dropped)
            .finish_non_exhaustive()
    }
}

/// Tells those who wait that the thread is gone, even if the output panicked.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        state.dropped += (state.lines.len() + state.in_flight) as u64;
        drop(state);
        self.0.drained.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed(&self, mut output: Box<dyn Write + Send>) {
        let mut complained = false;
        while let Some(batch) = self.take() {
            let mut failed = 0;
            let lines = batch.len();
            for line in batch {
                if let Err(error) = output.write_all(&line) {
                    failed += 1;
                    if !complained {
                        complained = true;
                        complain(&format!("the log cannot be written: {error}"));
                    }
                }
            }
            if output.flush().is_err() && failed == 0 {
                failed = lines;
            }
            self.settle(lines, failed);
        }
    }

    /// The next lines, or `None` when the queue is closed and empty.
    fn take(&self) -> Option<Vec<Vec<u8>>> {
        let mut state = self.lock();
        while state.lines.is_empty() {
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.lines.len().min(BATCH);
        state.in_flight = count;
        Some(state.lines.drain(..count).collect())
    }

    fn settle(&self, lines: usize, failed: usize) {
        let mut state = self.lock();
        state.in_flight = 0;
        state.settled += lines as u64;
        state.dropped += failed as u64;
        drop(state);
        self.drained.notify_all();
    }
}

/// Says on standard error what the log itself cannot say; if that fails too, nobody is left to tell.
pub(super) fn complain(what: &str) {
    let _ = writeln!(std::io::stderr(), "log: {what}");
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Writes only when it is allowed to.
    struct Gate {
        allowed: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.allowed.recv();
            self.written
                .lock()
                .expect("not poisoned")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Gate, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (allow, allowed) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let gate = Gate {
            allowed,
            written: Arc::clone(&written),
        };
        (gate, allow, written)
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_never_waits() {
        let (gate, allow, written) = gate();
        let queue = LineQueue::start(Box::new(gate), 3).expect("a thread");
        for line in 0..10_u8 {
            queue.push(vec![line]);
        }
        assert_eq!(queue.dropped(), 7);
        assert!(!queue.flush(Duration::from_millis(1)), "the output is stuck");
        drop(allow);
        queue.close();
        assert_eq!(*written.lock().expect("not poisoned"), [0, 1, 2]);
        queue.push(vec![9]);
        assert_eq!(queue.dropped(), 8, "closed");
    }

    #[test]
    fn closing_writes_everything_that_was_accepted() {
        let (gate, allow, written) = gate();
        let queue = LineQueue::start(Box::new(gate), 10_000).expect("a thread");
        for _ in 0..5_000 {
            queue.push(b"x".to_vec());
        }
        drop(allow);
        queue.close();
        assert_eq!(
            (written.lock().expect("not poisoned").len(), queue.dropped()),
            (5_000, 0)
        );
    }

    #[test]
    fn an_output_that_fails_or_panics_is_counted_and_harms_nobody() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        struct Panicking;
        impl Write for Panicking {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                panic!("a defect in the output")
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        for output in [Box::new(Broken) as Box<dyn Write + Send>, Box::new(Panicking)] {
            let queue = LineQueue::start(output, 10).expect("a thread");
            queue.push(b"a".to_vec());
            queue.push(b"b".to_vec());
            queue.close();
            assert_eq!(queue.dropped(), 2);
        }
    }
}
