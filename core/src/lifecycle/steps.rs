//! The stack of what was opened.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};

/// How long a health check may take before the component counts as not answering.
const HEALTH_DEADLINE: Duration = Duration::from_secs(2);

type Stop = Box<dyn FnOnce(Duration) -> BoxFuture<'static, Result<()>> + Send>;

enum Step {
    Backend(Arc<dyn Backend>),
    /// Behind a mutex that is never locked, so that what is stopped need not be `Sync` for the whole to be.
    Stop(Mutex<Stop>),
}

/// Everything that a service opened, in the order in which it was opened.
///
/// Closing goes the other way: what was opened last stops first, so that whoever uses a component stops before it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use std::time::Duration;
/// use infra_core::lifecycle::Lifecycle;
///
/// let mut lifecycle = Lifecycle::new(Duration::from_secs(5));
/// lifecycle.push("cache", Arc::new(infra_memory::MemoryCache::new()));
/// lifecycle.push_stop("http", |_deadline| Box::pin(async { Ok(()) }));
///
/// assert!(lifecycle.health().await.is_healthy());
/// let report = lifecycle.shutdown().await;
/// assert_eq!(report.stopped(), ["http", "cache"]);
/// # });
/// ```
pub struct Lifecycle {
    steps: Vec<(String, Step)>,
    deadline: Duration,
}

/// A service holds it beside its components, behind an `Arc` if it likes.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Lifecycle>();
};

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.steps.iter().map(|(name, _)| name).collect();
        f.debug_struct("Lifecycle")
            .field("steps", &names)
            .field("deadline", &self.deadline)
            .finish()
    }
}

impl Lifecycle {
    /// Nothing opened yet; each step gets `deadline` to stop.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self {
            steps: Vec::new(),
            deadline,
        }
    }

    /// Adds a component that was just opened.
    pub fn push(&mut self, name: impl Into<String>, backend: Arc<dyn Backend>) {
        self.steps.push((name.into(), Step::Backend(backend)));
    }

    /// Adds something else that has to stop: a server, a subscription, a background task. It is given its deadline.
    pub fn push_stop<F>(&mut self, name: impl Into<String>, stop: F)
    where
        F: FnOnce(Duration) -> BoxFuture<'static, Result<()>> + Send + 'static,
    {
        self.steps
            .push((name.into(), Step::Stop(Mutex::new(Box::new(stop)))));
    }

    /// The components that were added, with their backends, in order.
    pub fn backends(&self) -> impl Iterator<Item = (&str, &Arc<dyn Backend>)> {
        self.steps.iter().filter_map(|(name, step)| match step {
            Step::Backend(backend) => Some((name.as_str(), backend)),
            Step::Stop(_) => None,
        })
    }

    /// Asks every component at once how it is; one that does not answer within two seconds is not well.
    ///
    /// # Cancellation
    /// Nothing is left behind.
    pub async fn health(&self) -> HealthReport {
        HealthReport::of(self.backends()).await
    }

    /// Stops everything in reverse order, each step within its deadline; a step that fails or panics does not keep
    /// others from stopping.
    ///
    /// # Cancellation
    /// What has not stopped yet is dropped where it is.
    pub async fn shutdown(mut self) -> ShutdownReport {
        let mut report = ShutdownReport::default();
        while let Some((name, step)) = self.steps.pop() {
            let began = Instant::now();
            let result = stop(step, self.deadline).await;
            match &result {
                Ok(()) => tracing::info!(step = name, elapsed = ?began.elapsed(), "stopped"),
                Err(error) => tracing::error!(step = name, %error, "did not stop cleanly"),
            }
            report.results.push((name, result));
        }
        report
    }
}

async fn stop(step: Step, deadline: Duration) -> Result<()> {
    // A well-behaved step ends by its own deadline and says what was unfinished; the outer one is for the others.
    let grace = deadline.saturating_add(deadline / 4);
    let stopping = async move {
        match step {
            Step::Backend(backend) => backend.shutdown(deadline).await,
            Step::Stop(stop) => stop.into_inner().unwrap_or_else(PoisonError::into_inner)(deadline).await,
        }
    };
    // What panicked is not used again, whatever state it is in.
    match timeout(grace, AssertUnwindSafe(stopping).catch_unwind()).await {
        Ok(Ok(stopped)) => stopped,
        Ok(Err(_)) => Err(Error::new(
            ErrorKind::Internal,
            "it panicked while stopping and was abandoned; the panic's own message says where",
        )),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!("it did not stop within {grace:?} and was abandoned; accepted work may be unfinished"),
        )),
    }
}

/// How every component is.
#[derive(Debug, Clone, Default)]
pub struct HealthReport {
    results: Vec<(String, &'static str, Result<()>)>,
}

impl HealthReport {
    /// Asks these components at once.
    pub async fn of<'a>(backends: impl Iterator<Item = (&'a str, &'a Arc<dyn Backend>)>) -> Self {
        let checks = backends.map(|(name, backend)| async move {
            let answer = timeout(HEALTH_DEADLINE, backend.health())
                .await
                .unwrap_or_else(|_| {
                    Err(Error::new(
                        ErrorKind::Timeout,
                        format!("no answer to a health check within {HEALTH_DEADLINE:?}"),
                    )
                    .at("health", backend.backend(), "health"))
                });
            (name.to_owned(), backend.backend(), answer)
        });
        Self {
            results: join_all(checks).await,
        }
    }

    /// Whether every component is well.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.results.iter().all(|(_, _, result)| result.is_ok())
    }

    /// Component, backend and answer, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'static str, &Result<()>)> {
        self.results
            .iter()
            .map(|(name, backend, result)| (name.as_str(), *backend, result))
    }
}

/// What stopped, and what did not stop cleanly.
#[derive(Debug, Clone, Default)]
pub struct ShutdownReport {
    results: Vec<(String, Result<()>)>,
}

impl ShutdownReport {
    /// The steps in the order in which they were stopped.
    #[must_use]
    pub fn stopped(&self) -> Vec<&str> {
        self.results.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The steps that failed, with their errors.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.results
            .iter()
            .filter_map(|(name, result)| Some((name.as_str(), result.as_ref().err()?)))
    }

    /// All failures as one error.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) (or the kind of the only failure) that names every failed step.
    pub fn into_result(self) -> Result<()> {
        let failures: Vec<_> = self
            .failures()
            .map(|(name, error)| format!("{name}: {error}"))
            .collect();
        if failures.is_empty() {
            return Ok(());
        }
        let kind = match self.failures().next() {
            Some((_, only)) if failures.len() == 1 => only.kind(),
            _ => ErrorKind::Internal,
        };
        Err(Error::new(
            kind,
            format!("shutdown was not clean: {}", failures.join("; ")),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logging(
        log: &Arc<Mutex<Vec<&'static str>>>,
        name: &'static str,
    ) -> impl FnOnce(Duration) -> BoxFuture<'static, Result<()>> + use<> {
        let log = Arc::clone(log);
        move |_| {
            Box::pin(async move {
                log.lock().expect("not poisoned").push(name);
                Ok(())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stops_in_reverse_order_past_failures_and_hangs() {
        let log = Arc::default();
        let mut lifecycle = Lifecycle::new(Duration::from_secs(4));
        lifecycle.push_stop("first", logging(&log, "first"));
        lifecycle.push_stop("hangs", |_| Box::pin(std::future::pending()));
        lifecycle.push_stop("fails", |_| {
            Box::pin(async { Err(Error::new(ErrorKind::Unavailable, "gone")) })
        });
        lifecycle.push_stop("last", logging(&log, "last"));

        let began = Instant::now();
        let report = lifecycle.shutdown().await;
        assert_eq!(report.stopped(), ["last", "fails", "hangs", "first"]);
        assert_eq!(*log.lock().expect("not poisoned"), ["last", "first"]);
        assert_eq!(began.elapsed(), Duration::from_secs(5));
        let failed: Vec<_> = report
            .failures()
            .map(|(name, error)| (name, error.kind()))
            .collect();
        assert_eq!(
            failed,
            [("fails", ErrorKind::Unavailable), ("hangs", ErrorKind::Timeout)]
        );
        assert_eq!(
            report.into_result().expect_err("two failures").kind(),
            ErrorKind::Internal
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_of_one_step_does_not_keep_others_from_stopping() {
        let log = Arc::default();
        let mut lifecycle = Lifecycle::new(Duration::from_secs(4));
        lifecycle.push_stop("first", logging(&log, "first"));
        lifecycle.push_stop("panics early", |_| panic!("on purpose"));
        lifecycle.push_stop("panics late", |_| Box::pin(async { panic!("on purpose") }));

        let report = lifecycle.shutdown().await;
        assert_eq!(*log.lock().expect("not poisoned"), ["first"]);
        let failed: Vec<_> = report
            .failures()
            .map(|(name, error)| (name, error.kind()))
            .collect();
        assert_eq!(
            failed,
            [
                ("panics late", ErrorKind::Internal),
                ("panics early", ErrorKind::Internal)
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_deadline_is_one() {
        let log = Arc::default();
        let mut lifecycle = Lifecycle::new(Duration::MAX);
        lifecycle.push_stop("only", logging(&log, "only"));
        assert!(lifecycle.shutdown().await.into_result().is_ok());
    }
}
