//! What a subscription records.

use std::collections::BTreeMap;

use infra_core::queue::runtime::{DEAD_LETTERS, DURATION, HANDLED, IN_FLIGHT, RETRIES};
use infra_core::telemetry::{Counter, Descriptor, Gauge, Histogram, Label, Meter, NoMeter, UpDownCounter};

use super::*;

/// Sums per series.
#[derive(Debug, Clone, Default)]
struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

#[derive(Debug)]
struct Series(Sums, String);

impl Series {
    fn note(&self, amount: f64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += amount;
    }
}

impl Counter for Series {
    fn add(&self, amount: u64) {
        self.note(amount as f64);
    }
}

impl UpDownCounter for Series {
    fn add(&self, difference: i64) {
        self.note(difference as f64);
    }
}

impl Histogram for Series {
    fn record(&self, _: f64) {
        self.note(1.0);
    }
}

impl Sums {
    fn series(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<Series> {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Arc::new(Series(
            self.clone(),
            format!("{}{{{}}}", descriptor.name, labels.join(",")),
        ))
    }

    fn get(&self, descriptor: &Descriptor, more: &str) -> f64 {
        let series = format!("{}{{topic=t,group=g{more}}}", descriptor.name);
        self.0.lock().unwrap().get(&series).copied().unwrap_or_default()
    }
}

impl Meter for Sums {
    fn counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Counter> {
        self.series(descriptor, labels)
    }
    fn up_down_counter(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn UpDownCounter> {
        self.series(descriptor, labels)
    }
    fn gauge(&self, _: &Descriptor, _: &[Label<'_>]) -> Arc<dyn Gauge> {
        Arc::new(NoMeter)
    }
    fn histogram(&self, descriptor: &Descriptor, labels: &[Label<'_>]) -> Arc<dyn Histogram> {
        self.series(descriptor, labels)
    }
}

#[tokio::test(start_paused = true)]
async fn every_outcome_is_counted_and_nothing_stays_in_flight() {
    let log = Log::new(1);
    let sums = Sums::default();
    for payload in ["good", "fine", "bad", "slow:5", "slow:500"] {
        log.add(0, payload, payload);
    }
    let subscription = Subscription::to([log::TOPIC])
        .with_backoff(SECOND / 10, SECOND)
        .with_max_attempts(count(3));
    let running = ConsumerRuntime::new("g", subscription)
        .with_meter(Arc::new(sums.clone()))
        .start(log.clone(), Work::Each(obedient(&Seen::default())));
    sleep(SECOND * 2).await;
    assert_eq!(sums.get(&IN_FLIGHT, ""), 2.0);
    sleep(SECOND * 4).await;
    assert_eq!(sums.get(&HANDLED, ",disposition=ack"), 3.0);
    assert_eq!(sums.get(&HANDLED, ",disposition=retry"), 3.0);
    assert_eq!(sums.get(&HANDLED, ",disposition=dead_letter"), 0.0);
    assert_eq!(sums.get(&DURATION, ""), 6.0);
    assert_eq!(sums.get(&RETRIES, ""), 2.0);
    assert_eq!(sums.get(&DEAD_LETTERS, ""), 1.0);
    assert_eq!(sums.get(&IN_FLIGHT, ""), 1.0);
    drop(running);
    sleep(SECOND).await;
    assert_eq!(sums.get(&IN_FLIGHT, ""), 0.0);
}
