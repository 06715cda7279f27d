//! A tracing span around a call.

use tracing::field::Empty;

use super::interceptor::{Enter, Exit, Interceptor, Outcome, Role, Scope};
use super::method::Call;

/// Opens one `tracing` span per call, named `infra.call`, at level INFO and target `infra::call`.
///
/// Its fields: `otel.name` (`"cache.get"`, the name that an OpenTelemetry exporter shows), `otel.kind` (`client`), `component`,
/// `backend`, `method`, `subject` (the first `&str` argument), and at the end `outcome`, `attempts`, and `otel.status_code` (`ERROR`) for a
/// failure that is not the caller's own. Other arguments and results never appear.
///
/// Everything inside, log lines included, happens in the span.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trace;

impl Trace {
    /// Spans for every call.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Interceptor for Trace {
    fn name(&self) -> &'static str {
        "trace"
    }

    fn role(&self) -> Role {
        Role::Trace
    }

    fn repeats(&self) -> bool {
        false
    }

    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        let method = call.method();
        scope.span(tracing::info_span!(
            target: "infra::call",
            "infra.call",
            otel.name = method.label(),
            otel.kind = "client",
            otel.status_code = Empty,
            component = method.component(),
            backend = call.backend(),
            method = method.name(),
            subject = call.subject(),
            outcome = Empty,
            attempts = Empty,
        ));
        Enter::Proceed
    }

    fn exit(&self, call: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        if let Some(span) = scope.current_span() {
            span.record("outcome", outcome.label());
            span.record("attempts", call.attempt());
            if outcome.error_kind().is_some_and(|kind| !kind.is_caller_fault()) {
                span.record("otel.status_code", "ERROR");
            }
        }
        Exit::Done
    }
}
