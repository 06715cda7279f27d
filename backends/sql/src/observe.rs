//! What is written to the log about statements: the text without literals, never a value.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use infra_core::database::RowStream;
use infra_core::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::error::Placed as _;
use crate::statement::Parsed;

/// The `tracing` target of everything this crate logs.
pub(crate) const TARGET: &str = "infra.db";

/// Measures one statement.
#[derive(Debug)]
pub(crate) struct Observation<'a> {
    statement: &'a str,
    slow: Duration,
    begun: Instant,
}

impl<'a> Observation<'a> {
    /// Begins with the statement's text as it may be shown.
    pub(crate) fn begin(statement: &'a str, slow: Duration) -> Self {
        Self {
            statement,
            slow,
            begun: Instant::now(),
        }
    }

    /// Logs the statement when it was slow or failed.
    pub(crate) fn end<T>(self, result: &Result<T>) {
        let elapsed = self.begun.elapsed();
        match result {
            Err(error) => self.failed(error, elapsed),
            Ok(_) if elapsed >= self.slow => tracing::warn!(
                target: TARGET,
                statement = self.statement,
                elapsed_ms = milliseconds(elapsed),
                threshold_ms = milliseconds(self.slow),
                "slow statement"
            ),
            Ok(_) => {}
        }
    }

    fn failed(&self, error: &Error, elapsed: Duration) {
        let statement = self.statement;
        let elapsed_ms = milliseconds(elapsed);
        // What business code expects now and then is no reason for a warning.
        if matches!(
            error.kind(),
            ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::Cancelled | ErrorKind::Closed
        ) {
            tracing::debug!(target: TARGET, statement, elapsed_ms, %error, "statement refused");
        } else {
            tracing::warn!(target: TARGET, statement, elapsed_ms, %error, "statement failed");
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Measures a stream until its first row, and reports the error that ends it.
#[derive(Debug)]
pub(crate) struct Stream {
    parsed: Arc<Parsed>,
    slow: Duration,
}

impl Stream {
    pub(crate) fn new(parsed: Arc<Parsed>, slow: Duration) -> Self {
        Self { parsed, slow }
    }

    pub(crate) fn watch(self, rows: RowStream) -> RowStream {
        let begun = Instant::now();
        let mut first = true;
        rows.map(move |row| {
            let row = row.during("fetch");
            if std::mem::take(&mut first) || row.is_err() {
                let observation = Observation {
                    statement: self.parsed.summary(),
                    slow: if row.is_ok() { self.slow } else { Duration::MAX },
                    begun,
                };
                observation.end(&row);
            }
            row
        })
        .boxed()
    }
}
