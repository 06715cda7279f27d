//! SIGINT and SIGTERM: the first asks for an orderly end, the second forces it.

use std::future::Future;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};

/// The operating system's requests to end, as two tokens.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use infra_core::lifecycle::Signals;
///
/// let signals = Signals::listen()?;
/// assert!(!signals.stop().is_cancelled());
/// # Ok::<(), infra_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Signals {
    stop: CancellationToken,
    force: CancellationToken,
}

impl Signals {
    /// Starts to listen; from here on SIGINT and SIGTERM no longer end the process by themselves.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the operating system refuses the handler.
    pub fn listen() -> Result<Self> {
        let signals = Self::default();
        let mut source = Source::install()?;
        let told = signals.clone();
        tokio::spawn(async move {
            loop {
                let name = source.next().await;
                if told.stop.is_cancelled() {
                    tracing::error!(signal = name, "second signal: ending now, without finishing");
                    told.force.cancel();
                } else {
                    tracing::warn!(
                        signal = name,
                        "ending in order; send the signal again to end at once"
                    );
                    told.stop.cancel();
                }
            }
        });
        Ok(signals)
    }

    /// Signals that only code raises, for tests and for services with their own handlers.
    #[must_use]
    pub fn manual() -> Self {
        Self::default()
    }

    /// Cancelled by the first signal.
    #[must_use]
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancelled by the second signal.
    #[must_use]
    pub fn force(&self) -> &CancellationToken {
        &self.force
    }
}

/// How [`run_until_signal`] ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Ended<T> {
    /// The work and its orderly end came to this.
    Finished(T),
    /// A second signal cut it short; leave the process without waiting for anything.
    Forced,
}

/// Runs `work`, which watches [`Signals::stop`] and then ends in order, until it is done or a second signal comes.
///
/// # Cancellation
/// Dropping the future drops the work.
pub async fn run_until_signal<T>(signals: &Signals, work: impl Future<Output = T>) -> Ended<T> {
    tokio::select! {
        biased;
        () = signals.force.cancelled() => Ended::Forced,
        outcome = work => Ended::Finished(outcome),
    }
}

#[cfg(unix)]
struct Source {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Source {
    fn install() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(refused)?,
            terminate: signal(SignalKind::terminate()).map_err(refused)?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

#[cfg(not(unix))]
struct Source;

#[cfg(not(unix))]
impl Source {
    fn install() -> Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        if let Err(source) = tokio::signal::ctrl_c().await {
            tracing::error!(error = %refused(source), "no further signal can be received");
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

fn refused(source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Internal,
        "the operating system refused a signal handler",
    )
    .with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_signal_wins_over_work_that_does_not_end() {
        let signals = Signals::manual();
        signals.force().cancel();
        assert!(matches!(
            run_until_signal(&signals, std::future::pending::<()>()).await,
            Ended::Forced
        ));
        assert!(matches!(
            run_until_signal(&Signals::manual(), async { 7 }).await,
            Ended::Finished(7)
        ));
    }
}
