//! Metrics in one process: recorded by atomic additions, read by tests, rendered as a Prometheus page.
//!
//! The text format is prometheus-client's; this module keeps the series, since labels are known only when a handle is made.

mod names;
mod series;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use infra_core::telemetry::{
    Counter, Descriptor, Gauge, Histogram, Label, Meter, SECONDS_BUCKETS, Unit, UpDownCounter,
};
use infra_core::{Error, ErrorKind, Result};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::registry::Registry;

use names::{Labels, base_name, help, labels_of, unit};
use series::{Kind, Series};

/// Label sets per instrument when nothing else is said.
const DEFAULT_SERIES: usize = 1000;
/// The series that stands for all label sets beyond the bound, named as in OpenTelemetry.
const OVERFLOW: Label<'static> = ("otel.metric.overflow", "true");

/// Upper bounds of buckets for sizes in bytes: 256 B to 16 MiB, each four times the one before.
const BYTES_BUCKETS: [f64; 9] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];
/// Upper bounds of buckets for numbers of things.
const COUNT_BUCKETS: [f64; 13] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0,
];

/// A [`Meter`] that keeps its series in memory. Cloning gives another handle on the same series.
///
/// Recording is one atomic addition (two and a search among a dozen bounds for a histogram). Asking for a handle takes a
/// lock: do it once. An instrument has at most 1000 label sets, or what [`MemoryMeter::with_max_series`] says; further
/// ones share a series labelled `otel_metric_overflow="true"`.
///
/// ```
/// use infra_core::telemetry::{Descriptor, Meter, Unit};
/// use infra_memory::MemoryMeter;
///
/// const SENT: Descriptor = Descriptor::new("messages.sent", "Messages that the broker acknowledged.", Unit::Count);
///
/// let meter = MemoryMeter::new();
/// let sent = meter.counter(&SENT, &[("topic", "orders")]);
/// sent.add(2);
/// assert_eq!(meter.value("messages.sent", &[("topic", "orders")]), Some(2.0));
/// assert!(meter.render()?.contains("messages_sent_total{topic=\"orders\"} 2"));
/// # Ok::<(), infra_core::Error>(())
/// ```
#[derive(Clone)]
pub struct MemoryMeter {
    shared: Arc<Shared>,
}

struct Shared {
    max_series: usize,
    instruments: RwLock<BTreeMap<String, Instrument>>,
}

struct Instrument {
    descriptor: Descriptor,
    kind: Kind,
    series: BTreeMap<Labels, Arc<Series>>,
}

/// What a histogram has seen.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HistogramReading {
    /// How many observations.
    pub count: u64,
    /// Their sum, in the unit of the instrument.
    pub sum: f64,
    /// Each bucket's upper bound (the last is infinity) and how many observations fell into it alone.
    pub buckets: Vec<(f64, u64)>,
}

impl fmt::Debug for MemoryMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryMeter")
            .field("instruments", &self.read().len())
            .finish_non_exhaustive()
    }
}

impl Default for MemoryMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryMeter {
    /// A meter without series.
    #[must_use]
    pub fn new() -> Self {
        Self::with_max_series(DEFAULT_SERIES)
    }

    /// A meter with another bound on the label sets of one instrument, the overflow series not counted.
    #[must_use]
    pub fn with_max_series(max_series: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                max_series,
                instruments: RwLock::default(),
            }),
        }
    }

    /// All series as text in the OpenMetrics format, which Prometheus reads; serve it as
    /// `application/openmetrics-text; version=1.0.0; charset=utf-8`.
    ///
    /// Names are made from dotted ones: `_` for every dot, the unit as a suffix, `_total` behind counters.
    ///
    /// # Errors
    /// [`Internal`](ErrorKind::Internal) when the encoder refuses, which it does for nothing that is recorded here.
    pub fn render(&self) -> Result<String> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Page(self.clone())));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).map_err(|source| {
            Error::new(ErrorKind::Internal, "the metrics could not be written as text")
                .with_source(source)
                .at("metrics", crate::BACKEND, "render")
        })?;
        Ok(text)
    }

    /// The value of one series: a count, a gauge, or how many observations a histogram has. `None` for a series that
    /// nobody asked a handle for. The name may be the dotted one.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[Label<'_>]) -> Option<f64> {
        self.find(name, labels).map(|series| series.value())
    }

    /// What a histogram has seen.
    #[must_use]
    pub fn histogram_reading(&self, name: &str, labels: &[Label<'_>]) -> Option<HistogramReading> {
        self.find(name, labels)?.histogram()
    }

    /// The label sets of an instrument, each in the order of label names; empty for an unknown one.
    #[must_use]
    pub fn label_sets(&self, name: &str) -> Vec<Vec<(String, String)>> {
        self.read()
            .get(&base_name(name))
            .map(|instrument| instrument.series.keys().cloned().collect())
            .unwrap_or_default()
    }

    fn find(&self, name: &str, labels: &[Label<'_>]) -> Option<Arc<Series>> {
        let instruments = self.read();
        let series = &instruments.get(&base_name(name))?.series;
        series.get(&labels_of(labels)).map(Arc::clone)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Instrument>> {
        self.shared
            .instruments
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The series of an instrument and its labels, made if needed.
    fn series(&self, kind: Kind, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<Series> {
        let mut instruments = self
            .shared
            .instruments
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let instrument = instruments
            .entry(base_name(descriptor.name))
            .or_insert_with(|| Instrument {
                descriptor: *descriptor,
                kind,
                series: BTreeMap::new(),
            });
        if instrument.kind != kind || instrument.descriptor.unit != descriptor.unit {
            tracing::warn!(
                name = descriptor.name,
                "an instrument was asked for as another kind or in another unit than before; what is recorded in it is lost"
            );
            return Arc::new(Series::new(kind, bounds(descriptor.unit)));
        }
        let mut labels = labels_of(labels);
        if !instrument.series.contains_key(&labels) && instrument.series.len() >= self.shared.max_series {
            labels = labels_of(&[OVERFLOW]);
        }
        let series = instrument
            .series
            .entry(labels)
            .or_insert_with(|| Arc::new(Series::new(kind, bounds(descriptor.unit))));
        Arc::clone(series)
    }
}

fn bounds(unit: Unit) -> &'static [f64] {
    match unit {
        Unit::Seconds => &SECONDS_BUCKETS,
        Unit::Bytes => &BYTES_BUCKETS,
        _ => &COUNT_BUCKETS,
    }
}

impl Meter for MemoryMeter {
    fn counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Counter> {
        self.series(Kind::Counter, descriptor, labels)
    }

    fn up_down_counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn UpDownCounter> {
        self.series(Kind::UpDownCounter, descriptor, labels)
    }

    fn gauge(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Gauge> {
        self.series(Kind::Gauge, descriptor, labels)
    }

    fn histogram(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Histogram> {
        self.series(Kind::Histogram, descriptor, labels)
    }
}

/// The meter as prometheus-client sees it.
#[derive(Debug)]
struct Page(MemoryMeter);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        for (name, instrument) in &*self.0.read() {
            let unit = unit(instrument.descriptor.unit);
            let help = help(instrument.descriptor.description);
            let mut family: MetricEncoder =
                encoder.encode_descriptor(name, &help, unit.as_ref(), instrument.kind.metric_type())?;
            for (labels, series) in &instrument.series {
                if labels.is_empty() {
                    series.encode(&mut family)?;
                } else {
                    series.encode(&mut family.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}
