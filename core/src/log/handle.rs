//! What remains in the hands of `main` once the log is set up.

use std::sync::Arc;
use std::time::Duration;

use super::layer::Shared;
use super::levels::{Levels, Table};
use super::writer::LineQueue;
use crate::config::{HotReload, Validate};
use crate::error::{Error, ErrorKind, Result};

/// Changes the levels of a running log. Clones change the same log.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The levels now.
    #[must_use]
    pub fn levels(&self) -> Levels {
        self.shared.current.load().0.clone()
    }

    /// Replaces all levels, from the next event on.
    ///
    /// # Errors
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) when a name is no namespace; nothing changes then.
    pub fn set_levels(&self, levels: Levels) -> Result<()> {
        levels
            .check()
            .map_err(|error| error.at("log", "", "set_levels"))?;
        let table = Table::new(&levels, &self.shared.root);
        self.shared.current.store(Arc::new((levels, table)));
        // `tracing` remembers which events nobody wants; let it ask again.
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// The levels as a hot-reloaded value, to follow a key of the config centre:
    /// `{"level": "info", "levels": {"user.auth": "debug"}}`. Its default is what is set now.
    ///
    /// # Errors
    /// None in practice: what is set now is valid.
    pub fn hot_reload(&self) -> Result<HotReload<Levels>> {
        let handle = self.clone();
        HotReload::applying(self.levels(), move |levels: &Levels| {
            handle.set_levels(levels.clone())
        })
    }
}

/// Keeps the log running; dropping it writes what is buffered, waiting ten seconds at most, and ends the log.
///
/// Keep it in `main` until everything else has shut down.
#[derive(Debug)]
#[must_use = "the log ends when its guard is dropped; keep it in main"]
pub struct LogGuard {
    queue: LineQueue,
    handle: Handle,
}

impl LogGuard {
    pub(super) fn new(queue: LineQueue, handle: Handle) -> Self {
        Self { queue, handle }
    }

    /// The handle to change levels with.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How many lines did not reach the output: the buffer was full, or writing failed.
    #[must_use]
    pub fn dropped_lines(&self) -> u64 {
        self.queue.dropped()
    }

    /// Waits until everything logged before the call is written. Blocks the thread.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) when the output did not take it within `limit`.
    pub fn flush(&self, limit: Duration) -> Result<()> {
        if self.queue.flush(limit) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Timeout,
            format!("the log's output did not take all lines within {limit:?}; check where it goes"),
        )
        .at("log", "", "flush"))
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.queue.close();
    }
}
