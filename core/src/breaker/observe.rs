//! Who is told when a breaker changes its state: the log, the metrics, and whoever watches.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::contract::State;
use crate::telemetry::{Descriptor, Gauge, Meter, Unit};
use crate::watch::{self, Watch, WatchEvent, WatchSink};

const TRANSITIONS: Descriptor = Descriptor::new(
    "infra.breaker.transitions",
    "Changes of state of circuit breakers.",
    Unit::Count,
);
const STATE: Descriptor = Descriptor::new(
    "infra.breaker.state",
    "State of circuit breakers: 0 closed, 1 half-open, 2 open.",
    Unit::Count,
);

/// Transitions that a watcher may have left unread before it is told that it lagged.
const WATCH_CAPACITY: usize = 256;

/// Why a breaker changed its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Too many failures in a row.
    ConsecutiveFailures,
    /// Too large a share of the calls in the window failed.
    FailureRate,
    /// Too large a share of the calls in the window was slow.
    SlowCallRate,
    /// The time open is over.
    OpenStateTimeout,
    /// A probe failed or was slow.
    ProbeFailed,
    /// A probe did not end in time.
    ProbeTimedOut,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// An operator or the configuration overruled the breaker, or stopped doing so.
    Forced,
}

impl Reason {
    /// The name used in log lines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::SlowCallRate => "slow_call_rate",
            Self::OpenStateTimeout => "open_state_timeout",
            Self::ProbeFailed => "probe_failed",
            Self::ProbeTimedOut => "probe_timed_out",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::Forced => "forced",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One change of state of one breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The breaker's name.
    pub breaker: Arc<str>,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub reason: Reason,
}

/// What all breakers of a provider report to.
#[derive(Debug)]
pub(super) struct Hub {
    meter: Arc<dyn Meter>,
    watchers: Mutex<Vec<WatchSink<Transition>>>,
}

impl Hub {
    pub(super) fn new(meter: Arc<dyn Meter>) -> Self {
        Self {
            meter,
            watchers: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn watch(&self) -> Watch<Transition> {
        let (sink, watch) = watch::channel(WATCH_CAPACITY);
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|sink| !sink.is_abandoned());
        watchers.push(sink);
        watch
    }

    fn tell(&self, transition: &Transition) {
        let labels = [
            ("breaker", &*transition.breaker),
            ("from", transition.from.name()),
            ("to", transition.to.name()),
        ];
        self.meter.counter(&TRANSITIONS, &labels).add(1);
        let (breaker, from, to) = (&*transition.breaker, transition.from, transition.to);
        let reason = transition.reason;
        if to == State::Open {
            tracing::warn!(breaker, %from, %to, %reason, "a circuit breaker changed its state");
        } else {
            tracing::info!(breaker, %from, %to, %reason, "a circuit breaker changed its state");
        }
        self.watchers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|sink| sink.push(WatchEvent::Put(transition.clone())));
    }
}

/// What one breaker reports through.
#[derive(Debug)]
pub(super) struct Reporter {
    hub: Arc<Hub>,
    gauge: Arc<dyn Gauge>,
    /// Held while a transition is told, so that the gauge ends on the newest state. Nobody takes it during a call.
    telling: crate::sync::Mutex<()>,
}

impl Reporter {
    pub(super) fn new(hub: Arc<Hub>, name: &str) -> Self {
        let gauge = hub.meter.gauge(&STATE, &[("breaker", name)]);
        gauge.set(code(State::Closed));
        Self {
            hub,
            gauge,
            telling: crate::sync::Mutex::new(()),
        }
    }

    /// Tells everybody; `current` reads the state again once it is this transition's turn.
    pub(super) fn tell(&self, transition: &Transition, current: impl FnOnce() -> State) {
        let _turn = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauge.set(code(current()));
        self.hub.tell(transition);
    }
}

const fn code(state: State) -> f64 {
    match state {
        State::Closed => 0.0,
        State::HalfOpen => 1.0,
        State::Open => 2.0,
    }
}
