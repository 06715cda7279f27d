//! The metrics facade: instruments by name, handles bound to their labels once, recording without look-ups.

use std::fmt;
use std::sync::Arc;

/// The unit of an instrument, as a UCUM code where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Seconds, `s`.
    Seconds,
    /// Bytes, `By`.
    Bytes,
    /// A count of things, `1`.
    Count,
}

/// Bucket boundaries for durations in seconds: 1 ms to 10 s.
///
/// The OpenTelemetry default starts at 5 *units*, which puts every request under five seconds into one bucket.
pub const SECONDS_BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// What an instrument is: its name in OpenTelemetry's dotted form, what it counts, and in which unit.
///
/// Descriptors are constants of the component that owns the metric, so that names are part of the code's contract.
///
/// ```
/// use infra_core::telemetry::{Descriptor, Unit};
/// const SENT: Descriptor = Descriptor::new("messages.sent", "Messages that the broker acknowledged.", Unit::Count);
/// assert_eq!(SENT.name, "messages.sent");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Descriptor {
    /// The dotted name.
    pub name: &'static str,
    /// One sentence for whoever reads the metrics page.
    pub description: &'static str,
    /// The unit.
    pub unit: Unit,
}

impl Descriptor {
    /// Names an instrument.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str, unit: Unit) -> Self {
        Self {
            name,
            description,
            unit,
        }
    }
}

/// A label: a name and a value from a small, closed set. Never a key, a user id or a raw path.
pub type Label<'a> = (&'static str, &'a str);

/// Hands out instruments; the place where a telemetry backend plugs in.
///
/// Asking twice for the same descriptor and labels gives handles on the same series. Handles are bound once, outside hot
/// paths; recording through one does no look-up and no I/O.
///
/// # Contract
/// - A meter bounds its cardinality: beyond a documented number of label sets per instrument, further sets share one
///   overflow series, and nothing fails.
pub trait Meter: fmt::Debug + Send + Sync + 'static {
    /// A counter that only grows.
    fn counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Counter>;
    /// A number of things that come and go.
    fn up_down_counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn UpDownCounter>;
    /// A value that is observed from time to time.
    fn gauge(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Gauge>;
    /// A distribution; durations use [`SECONDS_BUCKETS`].
    fn histogram(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Histogram>;
}

/// A series that only grows.
pub trait Counter: fmt::Debug + Send + Sync {
    /// Adds to the count.
    fn add(&self, amount: u64);
}

/// A series that goes up and down by differences; in-flight numbers.
pub trait UpDownCounter: fmt::Debug + Send + Sync {
    /// Adds a difference, negative to count down.
    fn add(&self, difference: i64);
}

/// A series that is set to what was observed.
pub trait Gauge: fmt::Debug + Send + Sync {
    /// Replaces the value.
    fn set(&self, value: f64);
}

/// A distribution of values.
pub trait Histogram: fmt::Debug + Send + Sync {
    /// Adds one observation, in the unit of the instrument.
    fn record(&self, value: f64);
}

crate::assert_object_safe!(Meter, Counter, UpDownCounter, Gauge, Histogram);

/// A meter that records nothing: the default of components that were given none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMeter;

impl Meter for NoMeter {
    fn counter(&self, _: &Descriptor, _: &[Label<'_>]) -> Arc<dyn Counter> {
        Arc::new(Self)
    }
    fn up_down_counter(&self, _: &Descriptor, _: &[Label<'_>]) -> Arc<dyn UpDownCounter> {
        Arc::new(Self)
    }
    fn gauge(&self, _: &Descriptor, _: &[Label<'_>]) -> Arc<dyn Gauge> {
        Arc::new(Self)
    }
    fn histogram(&self, _: &Descriptor, _: &[Label<'_>]) -> Arc<dyn Histogram> {
        Arc::new(Self)
    }
}

impl Counter for NoMeter {
    fn add(&self, _: u64) {}
}

impl UpDownCounter for NoMeter {
    fn add(&self, _: i64) {}
}

impl Gauge for NoMeter {
    fn set(&self, _: f64) {}
}

impl Histogram for NoMeter {
    fn record(&self, _: f64) {}
}
