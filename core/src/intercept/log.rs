//! A log line about a call.

use std::time::Duration;

use super::interceptor::{Exit, Interceptor, Outcome, Role, Scope, Status};
use super::method::Call;

/// Writes one log line per call, with target `infra::call`.
///
/// DEBUG for success, cancellation and failures that are the caller's own (not found, conflict, invalid argument …); WARN
/// for every other failure and for a call that took longer than the slow threshold (one second at first). Fields: `method` (`"cache.get"`), `backend`,
/// `subject`, `attempts`, `elapsed_ms`, `outcome`, `error`. No other argument and no result is ever written.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    slow: Duration,
}

impl Log {
    /// Calls longer than a second are slow.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slow: Duration::from_secs(1),
        }
    }

    /// Calls longer than this are slow.
    #[must_use]
    pub const fn with_slow_threshold(mut self, slow: Duration) -> Self {
        self.slow = slow;
        self
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

/// One event with the fields of every line; a macro because `tracing` fixes the level at compile time.
macro_rules! line {
    ($level:ident, $call:expr, $outcome:expr, $error:expr, $message:literal) => {
        tracing::$level!(
            target: "infra::call",
            method = $call.method().label(),
            backend = $call.backend(),
            subject = $call.subject(),
            attempts = $call.attempt(),
            elapsed_ms = $outcome.elapsed().as_secs_f64() * 1e3,
            outcome = $outcome.label(),
            error = $error.map(tracing::field::display),
            $message
        )
    };
}

impl Interceptor for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn role(&self) -> Role {
        Role::Log
    }

    fn repeats(&self) -> bool {
        false
    }

    fn exit(&self, call: &Call<'_>, _: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let none = None::<&crate::Error>;
        match outcome.status() {
            Status::Err(failed) if !failed.kind().is_caller_fault() => {
                line!(warn, call, outcome, failed.error(), "call failed");
            }
            Status::Err(failed) => line!(debug, call, outcome, failed.error(), "call refused"),
            Status::Panicked => line!(warn, call, outcome, none, "call panicked"),
            // A method that waits by design is not slow when it waits.
            Status::Ok if outcome.elapsed() > self.slow && !call.method().waits() => {
                line!(warn, call, outcome, none, "slow call");
            }
            Status::Ok => line!(debug, call, outcome, none, "call succeeded"),
            Status::Cancelled => line!(debug, call, outcome, none, "call cancelled"),
        }
        Exit::Done
    }
}
