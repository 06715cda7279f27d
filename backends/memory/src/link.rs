//! What stands between a client and the shared state that plays the server: shutdown, and connections that break on command.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use infra_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

/// Whether the shared state that plays the server answers at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerSwitch(Arc<AtomicBool>);

impl ServerSwitch {
    /// Makes every client's calls fail from now on.
    pub(crate) fn turn_off(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Lets calls through again.
    pub(crate) fn turn_on(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// One client's connection to the server.
#[derive(Debug, Default)]
pub(crate) struct Link {
    server: ServerSwitch,
    cut: AtomicBool,
    closed: CancellationToken,
}

impl Link {
    /// Connects to the server that `server` switches.
    pub(crate) fn new(server: ServerSwitch) -> Self {
        Self {
            server,
            ..Self::default()
        }
    }

    /// Another connection to the same server.
    pub(crate) fn connect(&self) -> Self {
        Self::new(self.server.clone())
    }

    /// The server's switch, which concerns every connection.
    pub(crate) fn server(&self) -> &ServerSwitch {
        &self.server
    }

    /// Refuses the call when this client was shut down or the server cannot be reached.
    pub(crate) fn check(&self, component: &str) -> Result<()> {
        if self.closed.is_cancelled() {
            return Err(Error::closed(component));
        }
        self.reach()
    }

    /// Refuses the call when the server cannot be reached; what a renewal needs, even during shutdown.
    pub(crate) fn reach(&self) -> Result<()> {
        if self.cut.load(Ordering::Acquire) || self.server.0.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the in-process server was made unreachable; make it reachable again and repeat",
            )
            .without_effect());
        }
        Ok(())
    }

    /// Breaks this client's connection: its calls and renewals fail, the server goes on without it.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// Mends the connection.
    pub(crate) fn mend(&self) {
        self.cut.store(false, Ordering::Release);
    }

    /// Closes this client for good; `true` the first time.
    pub(crate) fn close(&self) -> bool {
        let first = !self.closed.is_cancelled();
        self.closed.cancel();
        first
    }

    /// Cancelled when this client is shut down.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }
}
