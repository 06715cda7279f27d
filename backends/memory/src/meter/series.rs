//! One series: numbers that are changed without a lock.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use infra_core::telemetry::{Counter, Gauge, Histogram, UpDownCounter};
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::metrics::MetricType;

use super::HistogramReading;

type NoLabels = [(String, String); 0];

/// What an instrument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    UpDownCounter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) const fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::UpDownCounter | Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// The numbers of one series; which of them a handle can reach depends on the trait that it is handed out as.
#[derive(Debug)]
pub(super) enum Series {
    Counter(AtomicU64),
    UpDownCounter(AtomicI64),
    /// The bits of an `f64`.
    Gauge(AtomicU64),
    Histogram {
        bounds: &'static [f64],
        /// One more than bounds: the last is for what is above all of them.
        counts: Box<[AtomicU64]>,
        /// The bits of an `f64`.
        sum: AtomicU64,
    },
}

impl Series {
    pub(super) fn new(kind: Kind, bounds: &'static [f64]) -> Self {
        match kind {
            Kind::Counter => Self::Counter(AtomicU64::new(0)),
            Kind::UpDownCounter => Self::UpDownCounter(AtomicI64::new(0)),
            Kind::Gauge => Self::Gauge(AtomicU64::new(0_f64.to_bits())),
            Kind::Histogram => Self::Histogram {
                bounds,
                counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
                sum: AtomicU64::new(0_f64.to_bits()),
            },
        }
    }

    pub(super) fn value(&self) -> f64 {
        match self {
            Self::Counter(count) => count.load(Ordering::Relaxed) as f64,
            Self::UpDownCounter(level) => level.load(Ordering::Relaxed) as f64,
            Self::Gauge(bits) => f64::from_bits(bits.load(Ordering::Relaxed)),
            Self::Histogram { counts, .. } => counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .sum::<u64>() as f64,
        }
    }

    pub(super) fn histogram(&self) -> Option<HistogramReading> {
        let Self::Histogram { bounds, counts, sum } = self else {
            return None;
        };
        let buckets: Vec<(f64, u64)> = bounds
            .iter()
            .copied()
            .chain([f64::INFINITY])
            .zip(counts.iter().map(|count| count.load(Ordering::Relaxed)))
            .collect();
        Some(HistogramReading {
            // From the same look at the buckets, so that the last of them agrees with it.
            count: buckets.iter().map(|(_, count)| count).sum(),
            sum: f64::from_bits(sum.load(Ordering::Relaxed)),
            buckets,
        })
    }

    pub(super) fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Counter(count) => {
                encoder.encode_counter::<NoLabels, u64, u64>(&count.load(Ordering::Relaxed), None)
            }
            Self::UpDownCounter(level) => encoder.encode_gauge(&level.load(Ordering::Relaxed)),
            Self::Gauge(_) => encoder.encode_gauge(&self.value()),
            Self::Histogram { .. } => match self.histogram() {
                Some(reading) => {
                    encoder.encode_histogram::<NoLabels>(reading.sum, reading.count, &reading.buckets, None)
                }
                None => Ok(()),
            },
        }
    }
}

impl Counter for Series {
    fn add(&self, amount: u64) {
        if let Self::Counter(count) = self {
            count.fetch_add(amount, Ordering::Relaxed);
        }
    }
}

impl UpDownCounter for Series {
    fn add(&self, difference: i64) {
        if let Self::UpDownCounter(level) = self {
            level.fetch_add(difference, Ordering::Relaxed);
        }
    }
}

impl Gauge for Series {
    fn set(&self, value: f64) {
        if let Self::Gauge(bits) = self {
            bits.store(value.to_bits(), Ordering::Relaxed);
        }
    }
}

impl Histogram for Series {
    /// What is not a number is not counted: it would make the sum useless for good.
    fn record(&self, value: f64) {
        let Self::Histogram { bounds, counts, sum } = self else {
            return;
        };
        if value.is_nan() {
            return;
        }
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        // Never fails: the closure always gives a new value.
        let _ = sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            Some((f64::from_bits(bits) + value).to_bits())
        });
    }
}
