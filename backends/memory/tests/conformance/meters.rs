//! METRIC on the meter.

use std::sync::Arc;

use infra_core::Result;
use infra_core::telemetry::{Label, Meter};
use infra_memory::MemoryMeter;
use infra_testkit::conformance::meters::ReadableMeter;
use infra_testkit::conformance::{self, Fixture, Setup};

const MAX_SERIES: usize = 20;

#[derive(Debug)]
struct Readable(MemoryMeter);

impl ReadableMeter for Readable {
    fn meter(&self) -> &dyn Meter {
        &self.0
    }

    fn value(&self, name: &str, labels: &[Label<'_>]) -> Option<f64> {
        self.0.value(name, labels)
    }

    fn histogram(&self, name: &str, labels: &[Label<'_>]) -> Option<(f64, Vec<(f64, u64)>)> {
        let reading = self.0.histogram_reading(name, labels)?;
        Some((reading.sum, reading.buckets))
    }

    fn label_sets(&self, name: &str) -> Vec<Vec<(String, String)>> {
        self.0.label_sets(name)
    }

    fn max_series(&self) -> usize {
        MAX_SERIES
    }
}

async fn meter(_setup: Setup) -> Result<Fixture<dyn ReadableMeter>> {
    Ok(Fixture::in_process(|| async {
        let meter = Readable(MemoryMeter::with_max_series(MAX_SERIES));
        Ok(Arc::new(meter) as Arc<dyn ReadableMeter>)
    }))
}

conformance::meters!(meter);
