//! The way to the backend: directly, or behind the whole standard stack with an await point and a failure of its own in every call.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use infra_core::breaker::{BreakerConfig, BreakerProvider, Breakers, State as BreakerState};
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::intercept::{
    Call, ConcurrencyLimit, Enter, Interceptor, OPERATION_ACTIVE, Recorder, Role, Scope, Stack, StackConfig,
    StandardStack, State,
};
use infra_core::retry::{Backoff, BudgetPolicy, Policy};
use infra_memory::MemoryMeter;

use crate::check;
use crate::conformance::Outcome;

/// So many calls run at once: few, so that permits which leaked are missed soon, and enough for one that waits for another.
const PLACES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// How the operations under test reach the backend.
#[derive(Debug, Clone)]
pub struct Route {
    stack: Stack,
    watched: Option<Watched>,
}

/// The parts of a stack that hold something for each call.
#[derive(Debug, Clone)]
struct Watched {
    meter: Arc<MemoryMeter>,
    limit: Arc<ConcurrencyLimit>,
    breakers: Arc<Breakers>,
    recorder: Arc<Recorder>,
}

impl Route {
    /// Straight to the backend.
    #[must_use]
    pub const fn direct() -> Self {
        Self {
            stack: Stack::new(),
            watched: None,
        }
    }

    /// Behind the standard stack with [`Stepping`] inside it, three calls at a time.
    ///
    /// # Errors
    /// None: the configuration is a constant; the type leaves room for others.
    pub fn standard_stack() -> Result<Self> {
        let meter = Arc::new(MemoryMeter::new());
        let limit = Arc::new(ConcurrencyLimit::new(PLACES).with_queue(16, Duration::from_secs(1)));
        let breakers = Arc::new(Breakers::new(BreakerConfig::development())?);
        let recorder = Arc::new(Recorder::new());
        let budget = BudgetPolicy::default().with_min_per_second(1_000);
        let pause = Duration::from_millis(1);
        let policy = Policy::development()
            .with_max_attempts(3)
            .with_backoff(Backoff::Fixed { delay: pause })
            .with_budget(budget);
        let config = StackConfig::development()
            .with_retry(policy)
            .with_timeout(Duration::from_secs(30));
        let inside = StandardStack::new(config)
            .with_meter(meter.clone())
            .with_breakers(breakers.clone())
            .build()?;
        let stack = Stack::new()
            .with_shared(limit.clone())
            .with_stack(&inside)
            .with(Stepping)
            .with_shared(recorder.clone());
        Ok(Self {
            stack,
            watched: Some(Watched {
                meter,
                limit,
                breakers,
                recorder,
            }),
        })
    }

    /// What to wrap the backend in.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The methods that were called, by their labels; nothing on the direct route.
    #[must_use]
    pub fn labels(&self) -> Vec<&'static str> {
        self.watched
            .as_ref()
            .map_or_else(Vec::new, |watched| watched.recorder.labels())
    }

    /// Checks that nothing is held for any call.
    ///
    /// # Errors
    /// A [`Failure`](crate::conformance::Failure) that names the permit, gauge or breaker.
    pub fn check_idle(&self) -> Outcome {
        let Some(watched) = &self.watched else {
            return Ok(());
        };
        let (running, queued) = (watched.limit.running(), watched.limit.queued());
        check!(
            running == 0,
            "{running} permits of the concurrency limit are held by nobody"
        );
        check!(
            queued == 0,
            "{queued} places in the queue of the limit are held by nobody"
        );
        for labels in watched.meter.label_sets(OPERATION_ACTIVE.name) {
            let of = |name| {
                labels
                    .iter()
                    .find(|label| label.0 == name)
                    .map_or("", |label| &label.1)
            };
            let named = ["component", "backend", "method"].map(|name| (name, of(name)));
            let active = watched.meter.value(OPERATION_ACTIVE.name, &named);
            check!(
                active == Some(0.0),
                "the gauge of calls under way shows {active:?} for {labels:?}"
            );
        }
        for breaker in watched.breakers.list() {
            let state = watched.breakers.breaker(&breaker.name).state();
            check!(
                state == BreakerState::Closed,
                "cancellation counted as a failure: breaker {} is {state:?}",
                breaker.name
            );
        }
        Ok(())
    }
}

/// Gives every call an await point before the backend, and a first attempt that fails and is repeated.
///
/// So each call behind the standard stack waits in three places: before the failure, in the pause before the repetition, and before
/// the backend is called. The failure certainly had no effect, so that calls which are not idempotent are repeated too.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stepping;

impl Interceptor for Stepping {
    fn name(&self) -> &'static str {
        "stepping"
    }

    fn role(&self) -> Role {
        Role::Faults
    }

    fn enter(&self, call: &Call<'_>, _: &mut Scope) -> Enter {
        let fails = call.attempt() == 1 && !call.method().is_once();
        Enter::Wait(Box::pin(async move {
            tokio::task::yield_now().await;
            if fails {
                return Err(Error::new(ErrorKind::Unavailable, "the first attempt fails").without_effect());
            }
            Ok(State::default())
        }))
    }
}
