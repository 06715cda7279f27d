//! What trace, log and metrics say of calls.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::intercept::{Log, Metrics, Stack, Timeout, Trace};
use infra_core::telemetry::{Counter, Descriptor, Gauge, Histogram, Label, Meter, UpDownCounter};
use infra_core::{Error, ErrorKind};
use tracing_subscriber::fmt::format::FmtSpan;

use crate::support::{Puppet, Step, Things, Value, unavailable};

const MS: Duration = Duration::from_millis(1);

/// What was written to the log.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn subscribe(&self) -> tracing::subscriber::DefaultGuard {
        let page = self.clone();
        tracing::subscriber::set_default(
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_ansi(false)
                .without_time()
                .with_span_events(FmtSpan::CLOSE)
                .with_writer(move || page.clone())
                .finish(),
        )
    }

    fn lines(&self) -> Vec<String> {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{part:?} is missing in {line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn everything_inside_happens_in_the_span_across_awaits() {
    let page = Page::default();
    let _guard = page.subscribe();
    let stack = Stack::new().with(Trace::new()).with(Log::new());
    let things = stack.wrap_named("puppet", Puppet::new([Step::Sleep(MS), Step::Err(unavailable())]));
    tracing::info!("before");
    things.read("the-key").await.unwrap();
    assert!(things.write("k", Value::default()).await.is_err());
    let lines = page.lines();
    assert_eq!(lines.len(), 5, "{lines:#?}");
    assert!(!lines[0].contains("infra.call"));
    has(
        &lines[1],
        &[
            "DEBUG infra.call{",
            "call succeeded",
            "method=\"things.read\"",
            "subject=\"the-key\"",
            "elapsed_ms=1.0",
        ],
    );
    has(
        &lines[2],
        &[
            "INFO infra.call{otel.name=\"things.read\" otel.kind=\"client\" component=\"things\" backend=\"puppet\" method=\"read\" \
             subject=\"the-key\" outcome=\"ok\" attempts=1}",
            "close",
        ],
    );
    has(
        &lines[3],
        &[
            "WARN infra.call{",
            "call failed",
            "outcome=\"unavailable\" error=told to fail (unavailable)",
        ],
    );
    has(
        &lines[4],
        &["outcome=\"unavailable\" attempts=1 otel.status_code=\"ERROR\""],
    );
}

#[tokio::test(start_paused = true)]
async fn the_level_of_a_line_says_whose_fault_it_is() {
    let page = Page::default();
    let _guard = page.subscribe();
    let steps = [
        Step::Err(Error::new(ErrorKind::Conflict, "stale")),
        Step::Sleep(30 * MS),
        Step::Sleep(30 * MS),
        Step::Hang,
    ];
    let things = Stack::new()
        .with(Log::new().with_slow_threshold(20 * MS))
        .wrap_named("p", Puppet::new(steps));
    assert!(things.read("k").await.is_err());
    things.read("k").await.unwrap();
    things.wait("k").await.unwrap();
    assert!(tokio::time::timeout(MS, things.read("k")).await.is_err());
    let lines = page.lines();
    assert_eq!(lines.len(), 4, "{lines:#?}");
    has(&lines[0], &["DEBUG", "call refused", "outcome=\"conflict\""]);
    has(&lines[1], &["WARN", "slow call", "elapsed_ms=30"]);
    has(&lines[2], &["DEBUG", "call succeeded"]);
    has(&lines[3], &["DEBUG", "call cancelled"]);
}

/// Keeps every series by name and labels.
#[derive(Debug, Clone, Default)]
struct Ledger(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

#[derive(Debug)]
struct Entry(String, Ledger);

impl Ledger {
    fn bind(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<Entry> {
        let values: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Arc::new(Entry(
            format!("{} {}", descriptor.name, values.join(",")),
            self.clone(),
        ))
    }
    fn sum(&self, series: &str) -> Option<f64> {
        self.0
            .lock()
            .unwrap()
            .get(series)
            .map(|values| values.iter().sum())
    }
}

impl Entry {
    fn push(&self, value: f64) {
        self.1
            .0
            .lock()
            .unwrap()
            .entry(self.0.clone())
            .or_default()
            .push(value);
    }
}

impl Meter for Ledger {
    fn counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Counter> {
        self.bind(descriptor, labels)
    }
    fn up_down_counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn UpDownCounter> {
        self.bind(descriptor, labels)
    }
    fn gauge(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Gauge> {
        self.bind(descriptor, labels)
    }
    fn histogram(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Histogram> {
        self.bind(descriptor, labels)
    }
}

impl Counter for Entry {
    fn add(&self, amount: u64) {
        self.push(amount as f64);
    }
}
impl UpDownCounter for Entry {
    fn add(&self, difference: i64) {
        self.push(difference as f64);
    }
}
impl Gauge for Entry {
    fn set(&self, value: f64) {
        self.push(value);
    }
}
impl Histogram for Entry {
    fn record(&self, value: f64) {
        self.push(value);
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_count_every_outcome_and_stay_right_under_cancellation() {
    let ledger = Ledger::default();
    let stack = Stack::new()
        .with(Metrics::new(Arc::new(ledger.clone())))
        .with(Timeout::new(20 * MS));
    let things = stack.wrap_named(
        "p",
        Puppet::new([Step::Sleep(5 * MS), Step::Hang, Step::Hang, Step::Sleep(5 * MS)]),
    );
    let labels = "component=things,backend=p,method=read";
    things.read("a").await.unwrap();
    assert!(things.read("b").await.is_err());
    assert!(tokio::time::timeout(MS, things.read("c")).await.is_err());
    things.read("d").await.unwrap();
    things.write("e", Value::default()).await.unwrap();
    let duration = |outcome: &str| {
        ledger.sum(&format!(
            "infra.client.operation.duration {labels},outcome={outcome}"
        ))
    };
    assert_eq!(duration("ok"), Some(0.010));
    assert_eq!(duration("timeout"), Some(0.020));
    assert_eq!(duration("cancelled"), Some(0.001));
    assert_eq!(duration("unavailable"), None);
    assert_eq!(
        ledger.sum(&format!("infra.client.operation.active {labels}")),
        Some(0.0)
    );
    let debug: &dyn Debug = &ledger;
    assert!(
        !format!("{debug:?}").contains("subject"),
        "no key is ever a label"
    );
}
