//! What is measured of a channel.

use std::sync::Arc;

use infra_core::telemetry::{Counter, Descriptor, Gauge, Meter, Unit};

const INSTANCES: Descriptor = Descriptor::new(
    "grpc.channel.instances",
    "Instances of the service that take traffic and are not known to be unreachable.",
    Unit::Count,
);

const REDIRECTED: Descriptor = Descriptor::new(
    "grpc.channel.redirected",
    "Requests that an instance did not take and that were sent to another.",
    Unit::Count,
);

/// The instruments of one service's channel.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) instances: Arc<dyn Gauge>,
    pub(super) redirected: Arc<dyn Counter>,
}

impl Metrics {
    pub(super) fn new(meter: &dyn Meter, service: &str) -> Self {
        let labels = [("service", service)];
        Self {
            instances: meter.gauge(&INSTANCES, &labels),
            redirected: meter.counter(&REDIRECTED, &labels),
        }
    }
}
