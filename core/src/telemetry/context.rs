//! The trace context of the work at hand: W3C `traceparent`, the plain `X-Trace-ID`, and how both follow a task.

use std::fmt;
use std::future::Future;

use tokio::task::JoinHandle;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The header that carries a plain trace id between services.
pub(crate) const TRACE_ID_HEADER: &str = "X-Trace-ID";
/// The W3C header.
pub(crate) const TRACEPARENT_HEADER: &str = "traceparent";

/// Which trace a piece of work belongs to.
///
/// Either a W3C trace context (a 16-byte trace id, the 8-byte id of the parent span, flags), or the plain id of a caller
/// that only knows `X-Trace-ID`.
///
/// ```
/// use infra_core::telemetry::TraceContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::parse_traceparent(header).expect("a valid header");
/// assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(context.traceparent().as_deref(), Some(header));
/// assert!(TraceContext::parse_traceparent("00-zz-00-01").is_none());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: String,
    parent: Option<Parent>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Parent {
    span_id: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// The header that carries a plain trace id: `X-Trace-ID`.
    pub const TRACE_ID_HEADER: &'static str = TRACE_ID_HEADER;
    /// The header of W3C Trace Context: `traceparent`.
    pub const TRACEPARENT_HEADER: &'static str = TRACEPARENT_HEADER;

    /// A context with an id of the caller's own, or with a fresh one (32 hexadecimal digits) if `id` is empty.
    #[must_use]
    pub fn from_trace_id(id: impl Into<String>) -> Self {
        let trace_id = id.into();
        if trace_id.is_empty() {
            Self::fresh()
        } else {
            Self {
                trace_id,
                parent: None,
            }
        }
    }

    /// A new trace: a random 16-byte id in hexadecimal digits.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            trace_id: uuid::Uuid::new_v4().simple().to_string(),
            parent: None,
        }
    }

    /// Reads a `traceparent` header as W3C Trace Context defines it; anything invalid, all-zero ids included, is `None`.
    #[must_use]
    pub fn parse_traceparent(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace_id, span_id, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = hex::<1>(version)?[0];
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let trace = hex::<16>(trace_id)?;
        let span_id = hex::<8>(span_id)?;
        let flags = hex::<1>(flags)?[0];
        if trace == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self {
            trace_id: trace_id.to_owned(),
            parent: Some(Parent { span_id, flags }),
        })
    }

    /// The trace id: 32 hexadecimal digits, or whatever the caller sent as `X-Trace-ID`.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The `traceparent` header, where this context came from one.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        let parent = self.parent?;
        let span: String = parent.span_id.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(format!("00-{}-{span}-{:02x}", self.trace_id, parent.flags))
    }

    /// The context of the work at hand, if it runs inside [`with_trace_context`].
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TraceContext({})",
            self.traceparent().as_deref().unwrap_or(&self.trace_id)
        )
    }
}

/// Reads exactly `N` bytes of lower-case hexadecimal digits, as the specification demands.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

/// Runs `work` under a trace context; every log line written inside carries its id, across await points.
///
/// A task spawned inside does not inherit it by itself: spawn with [`spawn_traced`].
pub async fn with_trace_context<F: Future>(context: TraceContext, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

/// Runs `work` under a plain trace id; an empty `id` starts a new trace.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use infra_core::telemetry::{current_trace_id, with_trace_id};
///
/// with_trace_id("request-42", async {
///     assert_eq!(current_trace_id().as_deref(), Some("request-42"));
/// })
/// .await;
/// # });
/// ```
pub async fn with_trace_id<F: Future>(id: impl Into<String>, work: F) -> F::Output {
    with_trace_context(TraceContext::from_trace_id(id), work).await
}

/// The trace id of the work at hand.
#[must_use]
pub fn current_trace_id() -> Option<String> {
    CURRENT.try_with(|context| context.trace_id.clone()).ok()
}

/// Spawns a task that keeps the trace context of the spawning one, and its `tracing` span.
pub fn spawn_traced<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    use tracing::Instrument as _;

    let work = work.in_current_span();
    match TraceContext::current() {
        Some(context) => tokio::spawn(with_trace_context(context, work)),
        None => tokio::spawn(work),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_the_specification_refuses() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(TraceContext::parse_traceparent(valid).is_some());
        for header in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert!(TraceContext::parse_traceparent(header).is_none(), "{header}");
        }
    }

    #[tokio::test]
    async fn follows_spawned_tasks_when_asked() {
        with_trace_id("abc", async {
            let inside = spawn_traced(async { current_trace_id() })
                .await
                .expect("no panic");
            assert_eq!(inside.as_deref(), Some("abc"));
            let outside = tokio::spawn(async { current_trace_id() })
                .await
                .expect("no panic");
            assert_eq!(outside, None);
        })
        .await;
        assert_eq!(current_trace_id(), None);
    }
}
