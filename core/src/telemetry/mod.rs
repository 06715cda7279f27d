//! Telemetry: the neutral facade that components record into, and the trace context that travels with requests.
//!
//! Nothing here exports anything. A backend crate fills the [`Meter`]: infra-memory renders a Prometheus page, an
//! OpenTelemetry backend exports. Spans and logs go through `tracing`.

mod context;
mod meter;

pub use context::{TraceContext, current_trace_id, spawn_traced, with_trace_context, with_trace_id};
pub use meter::{
    Counter, Descriptor, Gauge, Histogram, Label, Meter, NoMeter, SECONDS_BUCKETS, Unit, UpDownCounter,
};
