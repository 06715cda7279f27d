//! The trace context of a request: taken from its headers, given back with the response.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use infra_core::telemetry::{TraceContext, with_trace_context};
use tracing::Instrument as _;

const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest trace id taken over from a caller.
const MAX_TRACE_ID: usize = 128;

/// Runs a request under its trace context and returns the trace id in `X-Trace-ID`.
pub(super) async fn traced(request: Request, next: Next) -> Response {
    let context = context_of(request.headers());
    let header = HeaderValue::from_str(context.trace_id()).ok();
    let span = tracing::info_span!("http", method = %request.method(), path = request.uri().path());
    let mut response = with_trace_context(context, next.run(request).instrument(span)).await;
    if let Some(value) = header {
        response.headers_mut().insert(TRACE_ID, value);
    }
    response
}

fn context_of(headers: &HeaderMap) -> TraceContext {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    text(TRACEPARENT)
        .and_then(TraceContext::parse_traceparent)
        .unwrap_or_else(|| {
            let id = text(TRACE_ID)
                .filter(|id| id.len() <= MAX_TRACE_ID)
                .unwrap_or_default();
            TraceContext::from_trace_id(id)
        })
}
