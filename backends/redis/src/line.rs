//! One connection to one server that is made again when it breaks, for as many tasks as want to use it.
//!
//! The driver has such a thing too (`ConnectionManager`); it does not know sentinels, and every task that asks while the server is
//! away waits through all attempts. Here whoever asks first tries, and the others learn the result; between attempts they are
//! refused at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use infra_core::Error;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{PushInfo, PushKind};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::dial::Dialer;
use crate::error;

/// A connection that is made when it is needed.
#[derive(Debug)]
pub(crate) struct Line {
    dialer: Arc<Dialer>,
    current: ArcSwapOption<Established>,
    attempts: Mutex<Attempts>,
    made: AtomicU64,
}

/// A connection that was up when it was last looked at.
pub(crate) struct Established {
    pub(crate) connection: MultiplexedConnection,
    number: u64,
}

impl std::fmt::Debug for Established {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Established")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// How the last attempts to connect went.
#[derive(Debug, Default)]
struct Attempts {
    failed: u32,
    /// Nobody tries before this; the failure stands for all who ask until then.
    last: Option<(Instant, Error)>,
}

impl Line {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Arc<Self> {
        Arc::new(Self {
            dialer,
            current: ArcSwapOption::empty(),
            attempts: Mutex::default(),
            made: AtomicU64::new(0),
        })
    }

    /// The connection, if there is one.
    pub(crate) fn current(&self) -> Option<Arc<Established>> {
        self.current.load_full()
    }

    /// The connection, made if there is none.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Arc<Established>, Error> {
        let mut attempts = self.attempts.lock().await;
        if let Some(current) = self.current() {
            return Ok(current);
        }
        if let Some((until, failure)) = &attempts.last
            && let Some(pause) = until.checked_duration_since(Instant::now())
        {
            return Err(error::retry_of(failure.clone(), pause));
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let pushes = Arc::new(Pushes {
            line: Arc::downgrade(self),
            number,
        });
        match self.dialer.dial(pushes).await {
            Ok(connection) => {
                *attempts = Attempts::default();
                let established = Arc::new(Established { connection, number });
                self.current.store(Some(Arc::clone(&established)));
                Ok(established)
            }
            Err(failure) => {
                let pause = self.pause(attempts.failed);
                attempts.failed = attempts.failed.saturating_add(1);
                attempts.last = Some((Instant::now() + pause, failure.clone()));
                Err(error::retry_of(failure, pause))
            }
        }
    }

    /// Notes that this connection is of no use any more.
    pub(crate) fn discard(&self, broken: &Established) {
        self.discard_number(broken.number);
    }

    fn discard_number(&self, number: u64) {
        self.current.rcu(|current| {
            current
                .as_ref()
                .filter(|current| current.number != number)
                .cloned()
        });
    }

    /// Doubles with each failure, up to the longest, with a random part so that a fleet does not return in step.
    fn pause(&self, failed: u32) -> Duration {
        pause(self.dialer.config(), failed)
    }
}

/// How long to wait after so many failures.
pub(crate) fn pause(config: &crate::RedisConfig, failed: u32) -> Duration {
    let doubled = config.first_pause.saturating_mul(2_u32.saturating_pow(failed));
    doubled
        .min(config.longest_pause)
        .mul_f64(0.5 + 0.5 * fastrand::f64())
}

/// Hears of the end of a connection before anybody uses it in vain.
struct Pushes {
    line: Weak<Line>,
    number: u64,
}

impl AsyncPushSender for Pushes {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        if info.kind == PushKind::Disconnection
            && let Some(line) = self.line.upgrade()
        {
            line.discard_number(self.number);
        }
        Ok(())
    }
}
