//! What stands between a scenario and the backend: nothing, one interceptor, the whole standard stack, or the stack with faults inside.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use infra_core::breaker::{BreakerConfig, Breakers};
use infra_core::error::{ErrorKind, Result};
use infra_core::intercept::{
    CircuitBreaking, ConcurrencyLimit, Fault, Faults, Log, Metrics, Recorder, Retrying, Stack, StackConfig,
    StandardStack, Timeout, Trace,
};
use infra_core::retry::{BudgetPolicy, Policy};
use infra_memory::MemoryMeter;

/// How the backend is called.
///
/// A decorator must not change what a backend does: every scenario that holds for the backend holds behind each interceptor and behind
/// the standard stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Directly.
    Bare,
    /// Behind the trace interceptor alone.
    BehindTrace,
    /// Behind the metrics interceptor alone.
    BehindMetrics,
    /// Behind the log interceptor alone.
    BehindLog,
    /// Behind a concurrency limit alone, wide enough for every scenario.
    BehindConcurrencyLimit,
    /// Behind a breaker alone.
    BehindBreaker,
    /// Behind retries alone.
    BehindRetry,
    /// Behind a timeout for each call alone.
    BehindTimeout,
    /// Behind a recorder alone.
    BehindRecorder,
    /// Behind the fault injector alone, with no fault asked for.
    BehindFaults,
    /// Behind the whole standard stack.
    BehindStandardStack,
    /// Behind the whole standard stack, with one call in twenty failing inside it, by seed.
    WithFaults,
}

/// The share of calls that fail in [`Mode::WithFaults`].
pub const FAULT_RATE: f64 = 0.05;

/// More calls at once than any scenario makes.
const WIDE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// So many attempts that a run of faults at [`FAULT_RATE`] does not outlast them.
const ATTEMPTS: u32 = 12;

impl Mode {
    /// The stack of this mode. Calls that reach the backend are in `recorder` where the mode has one.
    pub(super) fn stack(self, seed: u64, recorder: &Arc<Recorder>) -> Result<Stack> {
        let alone = Stack::new();
        Ok(match self {
            Self::Bare => alone,
            Self::BehindTrace => alone.with(Trace::new()),
            Self::BehindMetrics => alone.with(Metrics::new(Arc::new(MemoryMeter::new()))),
            Self::BehindLog => alone.with(Log::new()),
            Self::BehindConcurrencyLimit => alone.with(ConcurrencyLimit::new(WIDE)),
            Self::BehindBreaker => alone.with(CircuitBreaking::new(breakers()?)),
            Self::BehindRetry => alone.with(Retrying::new(Policy::development())),
            Self::BehindTimeout => alone.with(Timeout::new(Duration::from_secs(30))),
            Self::BehindRecorder => alone.with_shared(recorder.clone()),
            Self::BehindFaults => alone.with(Faults::seeded(seed)),
            Self::BehindStandardStack => standard(Policy::development())?,
            Self::WithFaults => {
                let faults = Faults::seeded(seed);
                faults.by_chance(FAULT_RATE, Fault::Err(ErrorKind::Unavailable));
                let budget = BudgetPolicy::default().with_min_per_second(1_000);
                let policy = Policy::development()
                    .with_max_attempts(ATTEMPTS)
                    .with_budget(budget);
                let inner = Stack::new().with_shared(recorder.clone()).with(faults);
                standard(policy)?.with_stack(&inner)
            }
        })
    }
}

fn breakers() -> Result<Arc<Breakers>> {
    Breakers::new(BreakerConfig::development()).map(Arc::new)
}

fn standard(policy: Policy) -> Result<Stack> {
    let config = StackConfig::development()
        .with_retry(policy)
        .with_timeout(Duration::from_secs(30));
    StandardStack::new(config)
        .with_meter(Arc::new(MemoryMeter::new()))
        .with_breakers(breakers()?)
        .build()
}
