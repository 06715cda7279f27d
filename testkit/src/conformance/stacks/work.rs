//! A backend that does as it is told, and the ground on which a scenario plays: it behind a stack, with a meter and breakers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::breaker::{self, BreakerConfig, BreakerProvider, Breakers};
use infra_core::intercept::StackConfig;
use infra_core::retry::{Backoff, BudgetPolicy, Jitter, Policy};
use infra_core::{Error, ErrorKind, Result, async_trait, intercept};
use infra_memory::MemoryMeter;

use super::MakesStacks;
use crate::conformance::{Failure, Harness};

/// The time between attempts.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// The time that each attempt may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// What is called through the stack: a method of each sort.
#[intercept(component = "work")]
#[async_trait]
pub trait Work: Send + Sync {
    /// Idempotent.
    #[call(idempotent)]
    async fn read(&self, key: &str) -> Result<usize>;
    /// Must not be done twice.
    async fn write(&self, key: &str) -> Result<usize>;
    /// Idempotent, and waits by design.
    #[call(idempotent, waits)]
    async fn wait(&self, key: &str) -> Result<usize>;
}

/// What the backend does with one call.
#[derive(Debug)]
pub(super) enum Step {
    Fail(Error),
    Sleep(Duration),
    Hang,
    Panic,
}

/// A backend that takes one step for each call that reaches it; after the last one it succeeds. It answers with the number of the call.
#[derive(Debug, Default)]
pub(super) struct Worker {
    steps: Mutex<VecDeque<Step>>,
    calls: AtomicUsize,
    running: AtomicUsize,
}

impl Worker {
    /// How many calls reached it.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many calls are with it.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn steps(&self) -> MutexGuard<'_, VecDeque<Step>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(&self) -> Result<usize> {
        struct Running<'w>(&'w Worker);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.running.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(self);
        let step = self.steps().pop_front();
        match step {
            None => {}
            Some(Step::Fail(error)) => return Err(error),
            Some(Step::Sleep(time)) => tokio::time::sleep(time).await,
            Some(Step::Hang) => std::future::pending().await,
            // Not `panic!`, whose message would be in the output of a test that passes.
            Some(Step::Panic) => std::panic::resume_unwind(Box::new("as told")),
        }
        Ok(number)
    }
}

#[async_trait]
impl Work for Worker {
    async fn read(&self, _: &str) -> Result<usize> {
        self.work().await
    }

    async fn write(&self, _: &str) -> Result<usize> {
        self.work().await
    }

    async fn wait(&self, _: &str) -> Result<usize> {
        self.work().await
    }
}

pub(super) fn unavailable() -> Step {
    Step::Fail(Error::new(ErrorKind::Unavailable, "connection refused"))
}

/// Three attempts a second apart, five seconds for each, any number of calls at once.
pub(super) fn config() -> StackConfig {
    let policy = Policy::development()
        .with_max_attempts(3)
        .with_backoff(Backoff::Fixed { delay: PAUSE })
        .with_jitter(Jitter::None)
        .with_budget(BudgetPolicy::default().with_min_per_second(1_000))
        .without_total_deadline();
    StackConfig::development()
        .with_retry(policy)
        .with_timeout(TIMEOUT)
        .without_concurrency()
}

/// A worker behind a stack.
pub(super) struct Ground {
    pub(super) worker: Arc<Worker>,
    pub(super) behind: Arc<dyn Work>,
    pub(super) meter: MemoryMeter,
    pub(super) breakers: Arc<Breakers>,
}

impl Ground {
    /// A worker that takes these steps, behind the stack of this configuration, whose breakers open at the second failure.
    pub(super) async fn new(
        harness: &Harness<dyn MakesStacks>,
        config: StackConfig,
        steps: impl IntoIterator<Item = Step>,
    ) -> Result<Self, Failure> {
        let maker = harness.client().await?;
        let meter = MemoryMeter::new();
        let policy = breaker::Policy::new(2, 1, Duration::from_secs(60));
        let breakers = Arc::new(Breakers::new(
            BreakerConfig::development().with_default_policy(policy),
        )?);
        let provider = Arc::clone(&breakers) as Arc<dyn BreakerProvider>;
        let worker = Arc::new(Worker {
            steps: Mutex::new(steps.into_iter().collect()),
            ..Worker::default()
        });
        let work = Arc::clone(&worker) as Arc<dyn Work>;
        let behind = maker.behind(config, Arc::new(meter.clone()), provider, work)?;
        Ok(Self {
            worker,
            behind,
            meter,
            breakers,
        })
    }

    /// How many observations the series of calls with these method and outcome has.
    pub(super) fn observed(&self, method: &str, outcome: &str) -> Option<f64> {
        let labels = [
            ("component", "work"),
            ("backend", "worker"),
            ("method", method),
            ("outcome", outcome),
        ];
        self.meter.value("infra.client.operation.duration", &labels)
    }

    /// The value of a series that is there once for each method.
    pub(super) fn series(&self, name: &str, method: &str) -> Option<f64> {
        let labels = [("component", "work"), ("backend", "worker"), ("method", method)];
        self.meter.value(name, &labels)
    }
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}
