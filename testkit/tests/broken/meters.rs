//! Meters that are broken on purpose.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use infra_core::telemetry::{
    Counter, Descriptor, Gauge, Histogram, Label, Meter, SECONDS_BUCKETS, UpDownCounter,
};
use infra_testkit::conformance::meters::ReadableMeter;
use infra_testkit::conformance::{self, Breakage, Fixture, prove};

pub(crate) const FAMILY: &str = "meters";

const MAX_SERIES: usize = 8;

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::meters::SCENARIOS,
        &[
            broken("METRIC-001", LosesZero, "shows a counter when it first counts"),
            broken("METRIC-002", StopsAtZero, "lets no level go below zero"),
            broken(
                "METRIC-003",
                KeepsHighest,
                "keeps the highest observation of a gauge",
            ),
            broken("METRIC-004", SumsWholeUnits, "sums whole seconds"),
            broken("METRIC-005", BucketsOfUnits, "has buckets from 5 seconds on"),
            broken("METRIC-006", SumsNan, "adds what is no number to a sum"),
            broken(
                "METRIC-007",
                KeepsOrder,
                "takes another order of labels for other labels",
            ),
            broken("METRIC-008", JoinsLabels, "joins labels with a comma"),
            broken("METRIC-009", GrowsForever, "makes a series of every label set"),
            broken(
                "METRIC-010",
                CountsFromWhatItRead,
                "counts from what it read when the handle was bound",
            ),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    LosesZero,
    StopsAtZero,
    KeepsHighest,
    SumsWholeUnits,
    BucketsOfUnits,
    SumsNan,
    KeepsOrder,
    JoinsLabels,
    GrowsForever,
    CountsFromWhatItRead,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn ReadableMeter> {
    Breakage::new(breaks, words, move |_setup| async move {
        Ok(Fixture::in_process(move || async move {
            Ok(Arc::new(Plain::new(defect)) as Arc<dyn ReadableMeter>)
        }))
    })
}

/// A meter, written plainly so that each defect is one branch.
#[derive(Debug)]
struct Plain {
    defect: Defect,
    series: Mutex<BTreeMap<(String, Labels), Arc<Series>>>,
}

type Labels = Vec<(String, String)>;

#[derive(Debug)]
struct Series {
    defect: Defect,
    numbers: Mutex<Numbers>,
}

#[derive(Debug, Default)]
struct Numbers {
    touched: bool,
    value: f64,
    sum: f64,
    buckets: Vec<(f64, u64)>,
}

impl Plain {
    fn new(defect: Defect) -> Self {
        Self {
            defect,
            series: Mutex::default(),
        }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn labels(&self, labels: &[Label<'_>]) -> Labels {
        let mut owned: Labels = labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        if !self.is(Defect::KeepsOrder) {
            owned.sort();
        }
        if self.is(Defect::JoinsLabels) {
            let joined: Vec<_> = owned
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            return vec![(String::new(), joined.join(","))];
        }
        owned
    }

    fn series(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<Series> {
        let mut all = lock(&self.series);
        let mut key = (descriptor.name.to_owned(), self.labels(labels));
        if all.len() >= MAX_SERIES && !all.contains_key(&key) && self.bounds(&key.1) {
            key.1 = self.labels(&[("otel.metric.overflow", "true")]);
        }
        let series = all
            .entry(key)
            .or_insert_with(|| Arc::new(Series::new(self.defect)));
        Arc::clone(series)
    }

    /// Only what looks like an id of a user is many here; the strange labels are not.
    fn bounds(&self, labels: &Labels) -> bool {
        let many = labels
            .iter()
            .any(|(name, value)| name == "user" || value.starts_with("user="));
        many && !self.is(Defect::GrowsForever)
    }

    fn find(&self, name: &str, labels: &[Label<'_>]) -> Option<Arc<Series>> {
        let key = (name.to_owned(), self.labels(labels));
        lock(&self.series).get(&key).cloned()
    }
}

impl Meter for Plain {
    fn counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Counter> {
        let series = self.series(descriptor, labels);
        if self.is(Defect::CountsFromWhatItRead) {
            let count = Mutex::new(lock(&series.numbers).value);
            return Arc::new(Alone { series, count });
        }
        series
    }

    fn up_down_counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn UpDownCounter> {
        self.series(descriptor, labels)
    }

    fn gauge(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Gauge> {
        self.series(descriptor, labels)
    }

    fn histogram(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Histogram> {
        self.series(descriptor, labels)
    }
}

impl ReadableMeter for Plain {
    fn meter(&self) -> &dyn Meter {
        self
    }

    fn value(&self, name: &str, labels: &[Label<'_>]) -> Option<f64> {
        let series = self.find(name, labels)?;
        let numbers = lock(&series.numbers);
        (numbers.touched || !self.is(Defect::LosesZero)).then_some(numbers.value)
    }

    fn histogram(&self, name: &str, labels: &[Label<'_>]) -> Option<(f64, Vec<(f64, u64)>)> {
        let series = self.find(name, labels)?;
        let numbers = lock(&series.numbers);
        Some((numbers.sum, numbers.buckets.clone()))
    }

    fn label_sets(&self, name: &str) -> Vec<Vec<(String, String)>> {
        let all = lock(&self.series);
        all.keys()
            .filter(|(known, _)| known == name)
            .map(|(_, labels)| labels.clone())
            .collect()
    }

    fn max_series(&self) -> usize {
        MAX_SERIES
    }
}

impl Series {
    fn new(defect: Defect) -> Self {
        let factor = if defect == Defect::BucketsOfUnits {
            5_000.0
        } else {
            1.0
        };
        let bounds = SECONDS_BUCKETS
            .iter()
            .map(|bound| bound * factor)
            .chain([f64::INFINITY]);
        let numbers = Numbers {
            buckets: bounds.map(|bound| (bound, 0)).collect(),
            ..Numbers::default()
        };
        Self {
            defect,
            numbers: Mutex::new(numbers),
        }
    }
}

impl Counter for Series {
    fn add(&self, amount: u64) {
        let mut numbers = lock(&self.numbers);
        numbers.touched = true;
        numbers.value += amount as f64;
    }
}

/// A handle that knows nothing of the other handles on its series.
#[derive(Debug)]
struct Alone {
    series: Arc<Series>,
    count: Mutex<f64>,
}

impl Counter for Alone {
    fn add(&self, amount: u64) {
        let mut count = lock(&self.count);
        *count += amount as f64;
        lock(&self.series.numbers).value = *count;
    }
}

impl UpDownCounter for Series {
    fn add(&self, difference: i64) {
        let mut numbers = lock(&self.numbers);
        numbers.touched = true;
        numbers.value += difference as f64;
        if self.defect == Defect::StopsAtZero {
            numbers.value = numbers.value.max(0.0);
        }
    }
}

impl Gauge for Series {
    fn set(&self, value: f64) {
        let mut numbers = lock(&self.numbers);
        let highest = numbers.touched && self.defect == Defect::KeepsHighest;
        numbers.value = if highest { numbers.value.max(value) } else { value };
        numbers.touched = true;
    }
}

impl Histogram for Series {
    fn record(&self, value: f64) {
        if value.is_nan() && self.defect != Defect::SumsNan {
            return;
        }
        let mut numbers = lock(&self.numbers);
        numbers.touched = true;
        numbers.value += 1.0;
        numbers.sum += if self.defect == Defect::SumsWholeUnits {
            value.floor()
        } else {
            value
        };
        if let Some((_, count)) = numbers.buckets.iter_mut().find(|(bound, _)| value <= *bound) {
            *count += 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
