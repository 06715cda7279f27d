//! Recording calls in metrics.

use std::sync::{Arc, OnceLock};

use super::interceptor::{Enter, Exit, Interceptor, Outcome, Role, Scope, Status};
use super::method::Call;
use super::per_method::PerMethod;
use crate::error::ErrorKind;
use crate::telemetry::{Counter, Descriptor, Histogram, Label, Meter, Unit, UpDownCounter};

/// How long calls took.
pub const OPERATION_DURATION: Descriptor = Descriptor::new(
    "infra.client.operation.duration",
    "How long calls of components took, by outcome.",
    Unit::Seconds,
);

/// How many calls are under way.
pub const OPERATION_ACTIVE: Descriptor = Descriptor::new(
    "infra.client.operation.active",
    "How many calls of components are under way.",
    Unit::Count,
);

/// How many times calls were repeated.
pub const OPERATION_RETRIES: Descriptor = Descriptor::new(
    "infra.client.operation.retries",
    "How many times calls of components were repeated.",
    Unit::Count,
);

/// Records every call in three instruments: [`OPERATION_DURATION`] (a histogram in seconds), [`OPERATION_ACTIVE`] (up and down) and
/// [`OPERATION_RETRIES`] (a counter).
///
/// Labels: `component`, `backend`, `method`, and on the duration `outcome` (`ok`, the name of an [`ErrorKind`], `cancelled`, `panicked`).
/// Never a key. A cancelled call leaves the number of calls under way right.
///
/// Handles are bound when a method is first called, so that a call looks nothing up by name.
#[derive(Debug)]
pub struct Metrics {
    meter: Arc<dyn Meter>,
    series: PerMethod<Series>,
}

/// The handles for one method of one backend.
#[derive(Debug)]
struct Series {
    labels: [Label<'static>; 3],
    active: Arc<dyn UpDownCounter>,
    retries: Arc<dyn Counter>,
    /// By outcome; bound when one first occurs, so that only what happens is on the metrics page.
    durations: [OnceLock<Arc<dyn Histogram>>; OUTCOMES],
}

const OK: usize = ErrorKind::ALL.len();
const CANCELLED: usize = OK + 1;
const PANICKED: usize = OK + 2;
const OUTCOMES: usize = OK + 3;

impl Metrics {
    /// Records in the instruments of `meter`.
    #[must_use]
    pub fn new(meter: Arc<dyn Meter>) -> Self {
        Self {
            meter,
            series: PerMethod::new(),
        }
    }

    fn series(&self, call: &Call<'_>) -> &Series {
        self.series.of(call, || self.bind(call))
    }

    fn bind(&self, call: &Call<'_>) -> Series {
        let method = call.method();
        let labels = [
            ("component", method.component()),
            ("backend", call.backend()),
            ("method", method.name()),
        ];
        Series {
            labels,
            active: self.meter.up_down_counter(&OPERATION_ACTIVE, &labels),
            retries: self.meter.counter(&OPERATION_RETRIES, &labels),
            durations: [const { OnceLock::new() }; OUTCOMES],
        }
    }
}

impl Series {
    fn finish(&self, meter: &dyn Meter, outcome: &Outcome<'_>, retries: u64) {
        self.active.add(-1);
        if retries > 0 {
            self.retries.add(retries);
        }
        let index = match outcome.status() {
            Status::Ok => OK,
            Status::Cancelled => CANCELLED,
            Status::Panicked => PANICKED,
            Status::Err(failed) => failed.kind() as usize,
        };
        if let Some(duration) = self.durations.get(index) {
            duration
                .get_or_init(|| {
                    let [component, backend, method] = self.labels;
                    meter.histogram(
                        &OPERATION_DURATION,
                        &[component, backend, method, ("outcome", outcome.label())],
                    )
                })
                .record(outcome.elapsed().as_secs_f64());
        }
    }
}

impl Interceptor for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn role(&self) -> Role {
        Role::Metrics
    }

    fn repeats(&self) -> bool {
        false
    }

    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        self.series(call).active.add(1);
        scope.state().number = call.attempt().into();
        Enter::Proceed
    }

    fn exit(&self, call: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let retries = u64::from(call.attempt()).saturating_sub(scope.state().number);
        self.series(call).finish(&*self.meter, outcome, retries);
        Exit::Done
    }
}
