//! Standard stacks that are broken on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use infra_core::breaker::BreakerProvider;
use infra_core::config::Validate;
use infra_core::intercept::{
    Call, CircuitBreaking, ConcurrencyLimit, Enter, Exit, Interceptor, Log, Metrics, Outcome, Retrying,
    Scope, Stack, StackConfig, Status, Timeout, Trace,
};
use infra_core::telemetry::{Counter, Descriptor, Label, Meter, Unit, UpDownCounter};
use infra_core::{Error, ErrorKind, Result, async_trait};
use infra_testkit::conformance::stacks::MakesStacks;
use infra_testkit::conformance::stacks::work::Work;
use infra_testkit::conformance::{self, Breakage, Fixture, prove};

pub(crate) const FAMILY: &str = "stacks";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::stacks::SCENARIOS,
        &[
            broken(
                "METRIC-011",
                LabelsByUser,
                "has a label for the user that a key names",
            ),
            broken(
                "METRIC-012",
                LeaksActive,
                "forgets calls under way that were dropped",
            ),
            broken("METRIC-013", MeasuresAttempts, "measures attempts and not calls"),
            broken("METRIC-014", OneFailure, "has one outcome for all failures"),
            broken(
                "STACK-001",
                HidesArguments,
                "answers to a bad argument as to a defect of its own",
            ),
            broken("STACK-002", RepeatsAll, "repeats what is not idempotent"),
            broken("STACK-003", WaitsForever, "gives attempts no time limit"),
            broken(
                "STACK-004",
                BoundsWaits,
                "gives methods that wait by design the limit of the others",
            ),
            broken("STACK-005", CountsAttempts, "has its breaker inside the retries"),
            broken("STACK-006", NoBreaker, "has no breaker"),
            broken("STACK-007", Detaches, "runs calls in tasks of their own"),
            broken("STACK-008", LimitsAttempts, "has its limit inside the retries"),
            broken("STACK-009", QueuesMore, "lets ten times as many queue"),
            broken("STACK-010", QueuesLong, "lets calls queue for an hour"),
            broken(
                "STACK-011",
                LeaksDropped,
                "keeps the place of a call that was dropped",
            ),
            broken(
                "STACK-012",
                LeaksPanicked,
                "keeps the place of a call that panicked",
            ),
            broken("STACK-013", AcceptsAnything, "does not look at its configuration"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    LabelsByUser,
    LeaksActive,
    MeasuresAttempts,
    OneFailure,
    HidesArguments,
    RepeatsAll,
    WaitsForever,
    BoundsWaits,
    CountsAttempts,
    NoBreaker,
    Detaches,
    LimitsAttempts,
    QueuesMore,
    QueuesLong,
    LeaksDropped,
    LeaksPanicked,
    AcceptsAnything,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn MakesStacks> {
    Breakage::new(breaks, words, move |_setup| async move {
        Ok(Fixture::in_process(move || async move {
            Ok(Arc::new(Builder(defect)) as Arc<dyn MakesStacks>)
        }))
    })
}

/// Puts a stack together by hand, with one part wrong, missing, or in the wrong place.
#[derive(Debug, Clone, Copy)]
struct Builder(Defect);

impl Builder {
    fn is(self, defect: Defect) -> bool {
        self.0 == defect
    }

    fn metrics(self, meter: &Arc<dyn Meter>) -> Stack {
        match self.0 {
            Defect::LabelsByUser | Defect::LeaksActive | Defect::OneFailure => {
                Stack::new().with(PlainMetrics {
                    meter: Arc::clone(meter),
                    defect: self.0,
                })
            }
            _ => Stack::new().with(Metrics::new(Arc::clone(meter))),
        }
    }

    fn limit(self, config: &StackConfig) -> Stack {
        let Some(concurrency) = &config.concurrency else {
            return Stack::new();
        };
        let queue = concurrency.queue * if self.is(Defect::QueuesMore) { 10 } else { 1 };
        let hour = Duration::from_secs(3600);
        let wait = if self.is(Defect::QueuesLong) {
            hour
        } else {
            concurrency.max_wait
        };
        Stack::new()
            .with(ConcurrencyLimit::new(concurrency.limit).with_queue(queue, wait))
            .with(Leaks {
                defect: self.0,
                limit: concurrency.limit.get(),
                leaked: AtomicUsize::new(0),
            })
    }

    fn breaker(self, breakers: Arc<dyn BreakerProvider>) -> Stack {
        if self.is(Defect::NoBreaker) {
            return Stack::new();
        }
        Stack::new().with(CircuitBreaking::new(breakers))
    }

    fn retry(config: &StackConfig) -> Stack {
        match &config.retry {
            Some(policy) => Stack::new().with(Retrying::new(policy.clone())),
            None => Stack::new(),
        }
    }

    fn timeout(self, config: &StackConfig) -> Stack {
        match config.timeout.filter(|_| !self.is(Defect::WaitsForever)) {
            Some(limit) if self.is(Defect::BoundsWaits) => Stack::new().with(BoundsAll(limit)),
            Some(limit) => Stack::new().with(Timeout::new(limit)),
            None => Stack::new(),
        }
    }
}

impl MakesStacks for Builder {
    fn behind(
        &self,
        config: StackConfig,
        meter: Arc<dyn Meter>,
        breakers: Arc<dyn BreakerProvider>,
        work: Arc<dyn Work>,
    ) -> Result<Arc<dyn Work>> {
        if !self.is(Defect::AcceptsAnything) {
            config.check()?;
        }
        let (metrics, limit, breaker) = (self.metrics(&meter), self.limit(&config), self.breaker(breakers));
        let inside_retries = [
            Defect::MeasuresAttempts,
            Defect::LimitsAttempts,
            Defect::CountsAttempts,
        ];
        let mut stack = Stack::new().with(Trace::new()).with(Log::new());
        // Each of the three stands outside the retries, but for the one that is misplaced.
        for (misplaced, part) in inside_retries.iter().zip([&metrics, &limit, &breaker]) {
            if !self.is(*misplaced) {
                stack = stack.with_stack(part);
            }
        }
        stack = stack.with_stack(&Self::retry(&config));
        for (misplaced, part) in inside_retries.iter().zip([&metrics, &limit, &breaker]) {
            if self.is(*misplaced) {
                stack = stack.with_stack(part);
            }
        }
        stack = stack.with_stack(&self.timeout(&config)).with(Answers(self.0));
        if self.is(Defect::Detaches) {
            return Ok(stack.wrap_named("worker", Arc::new(Detached(work)) as Arc<dyn Work>));
        }
        Ok(stack.wrap_named("worker", work))
    }
}

/// Metrics, written plainly so that each defect is one branch.
#[derive(Debug)]
struct PlainMetrics {
    meter: Arc<dyn Meter>,
    defect: Defect,
}

const DURATION: Descriptor = Descriptor::new("infra.client.operation.duration", "How long.", Unit::Seconds);
const ACTIVE: Descriptor = Descriptor::new("infra.client.operation.active", "Under way.", Unit::Count);
const RETRIES: Descriptor = Descriptor::new("infra.client.operation.retries", "Repeated.", Unit::Count);

impl PlainMetrics {
    fn labels<'c>(&self, call: &'c Call<'_>) -> Vec<Label<'c>> {
        let mut labels = vec![
            ("component", call.method().component()),
            ("backend", call.backend()),
            ("method", call.method().name()),
        ];
        let user = call.subject().filter(|key| key.starts_with("user:"));
        if let Some(user) = user.filter(|_| self.defect == Defect::LabelsByUser) {
            labels.push(("user", user));
        }
        labels
    }

    fn active(&self, call: &Call<'_>) -> Arc<dyn UpDownCounter> {
        self.meter.up_down_counter(&ACTIVE, &self.labels(call))
    }

    fn retries(&self, call: &Call<'_>) -> Arc<dyn Counter> {
        self.meter.counter(&RETRIES, &self.labels(call))
    }
}

impl Interceptor for PlainMetrics {
    fn name(&self) -> &'static str {
        "plain metrics"
    }

    fn enter(&self, call: &Call<'_>, _: &mut Scope) -> Enter {
        self.active(call).add(1);
        Enter::Proceed
    }

    fn exit(&self, call: &Call<'_>, _: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        if !(self.defect == Defect::LeaksActive && matches!(outcome.status(), Status::Cancelled)) {
            self.active(call).add(-1);
        }
        self.retries(call).add(u64::from(call.attempt()) - 1);
        let label = match outcome.label() {
            "ok" => "ok",
            _ if self.defect == Defect::OneFailure => "failed",
            label => label,
        };
        let mut labels = self.labels(call);
        labels.push(("outcome", label));
        self.meter
            .histogram(&DURATION, &labels)
            .record(outcome.elapsed().as_secs_f64());
        Exit::Done
    }
}

/// A limit's places that are not given back.
#[derive(Debug)]
struct Leaks {
    defect: Defect,
    limit: usize,
    leaked: AtomicUsize,
}

impl Interceptor for Leaks {
    fn name(&self) -> &'static str {
        "leaks"
    }

    fn enter(&self, _: &Call<'_>, _: &mut Scope) -> Enter {
        if self.leaked.load(Ordering::SeqCst) < self.limit {
            return Enter::Proceed;
        }
        Enter::Refuse(Error::new(ErrorKind::ResourceExhausted, "no place is free").without_effect())
    }

    fn exit(&self, _: &Call<'_>, _: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let leaks = match outcome.status() {
            Status::Cancelled => self.defect == Defect::LeaksDropped,
            Status::Panicked => self.defect == Defect::LeaksPanicked,
            _ => false,
        };
        self.leaked.fetch_add(usize::from(leaks), Ordering::SeqCst);
        Exit::Done
    }
}

#[derive(Debug)]
struct BoundsAll(Duration);

impl Interceptor for BoundsAll {
    fn name(&self) -> &'static str {
        "bounds all"
    }

    fn enter(&self, _: &Call<'_>, scope: &mut Scope) -> Enter {
        scope.bound(self.0);
        Enter::Proceed
    }
}

/// Does something about an answer that is none of a stack's business.
#[derive(Debug)]
struct Answers(Defect);

impl Interceptor for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn exit(&self, call: &Call<'_>, _: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        match (self.0, outcome.error_kind()) {
            (Defect::HidesArguments, Some(ErrorKind::InvalidArgument)) => {
                Exit::Replace(Error::new(ErrorKind::Internal, "something went wrong"))
            }
            (Defect::RepeatsAll, Some(ErrorKind::Unavailable)) if call.method().label() == "work.write" => {
                Exit::Duplicate
            }
            _ => Exit::Done,
        }
    }
}

/// Lets each call run to its end, whether somebody waits for it or not.
struct Detached(Arc<dyn Work>);

impl Detached {
    async fn run<R>(&self, call: impl FnOnce(Arc<dyn Work>) -> R) -> Result<usize>
    where
        R: Future<Output = Result<usize>> + Send + 'static,
    {
        match tokio::spawn(call(Arc::clone(&self.0))).await {
            Ok(answer) => answer,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[async_trait]
impl Work for Detached {
    async fn read(&self, key: &str) -> Result<usize> {
        let key = key.to_owned();
        self.run(|work| async move { work.read(&key).await }).await
    }

    async fn write(&self, key: &str) -> Result<usize> {
        let key = key.to_owned();
        self.run(|work| async move { work.write(&key).await }).await
    }

    async fn wait(&self, key: &str) -> Result<usize> {
        let key = key.to_owned();
        self.run(|work| async move { work.wait(&key).await }).await
    }
}
