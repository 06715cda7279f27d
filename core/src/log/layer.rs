//! The `tracing` layer that turns events into lines, and the filter that decides which.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use time::{OffsetDateTime, UtcOffset};
use tracing::field::{Field as TracingField, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::config::{Clock, Format, LogConfig, SourceLocation};
use super::levels::{Levels, Table, full_namespace, is_namespace};
use super::writer::LineQueue;
use super::{console, json};

/// The field by which a span opens a namespace.
pub(super) const NAMESPACE_FIELD: &str = "namespace";

const REDACTED: &str = "[redacted]";

/// What may change while the service runs, shared with the [`Handle`](super::Handle).
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) root: String,
    pub(super) current: ArcSwap<(Levels, Table)>,
}

/// Decides by level and namespace, for this log alone: other layers see what they choose.
pub(super) struct NamespaceFilter {
    pub(super) shared: Arc<Shared>,
}

impl NamespaceFilter {
    fn opens_namespace(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.fields().field(NAMESPACE_FIELD).is_some()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Filter<S> for NamespaceFilter {
    fn enabled(&self, metadata: &Metadata<'_>, context: &Context<'_, S>) -> bool {
        if Self::opens_namespace(metadata) {
            return true;
        }
        let scope = context
            .lookup_current()
            .and_then(|span| span.extensions().get::<Scope>()?.namespace.clone());
        let current = self.shared.current.load();
        *metadata.level()
            <= current
                .1
                .level(scope.as_deref(), metadata.target(), &self.shared.root)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        let current = self.shared.current.load();
        if Self::opens_namespace(metadata) || *metadata.level() <= current.1.least() {
            Interest::always()
        } else if *metadata.level() <= current.1.most() {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Spans that open a namespace count at any level of the log; at info they usually are.
        Some(self.shared.current.load().1.most().max(LevelFilter::INFO))
    }
}

/// What a span adds to the events inside it.
struct Scope {
    /// Joined with those of the parents, without the root.
    namespace: Option<Arc<str>>,
    fields: Vec<Field>,
}

/// A recorded field.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) value: Value,
}

/// The value of a recorded field.
#[derive(Clone)]
pub(super) enum Value {
    Bool(bool),
    Signed(i128),
    Unsigned(u128),
    Float(f64),
    Text(String),
}

/// One line before it is written down.
pub(super) struct Line<'a> {
    pub(super) metadata: &'a Metadata<'static>,
    pub(super) time: OffsetDateTime,
    pub(super) namespace: String,
    pub(super) trace_id: Option<String>,
    pub(super) caller: Option<(&'a str, u32)>,
    pub(super) message: String,
    /// The event's own, then those of its spans from the inside out; the first of a name counts.
    pub(super) fields: Vec<Field>,
}

/// Formats events and queues the lines.
pub(super) struct LineLayer {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: LineQueue,
    format: Format,
    clock: Clock,
    source_location: SourceLocation,
    redact: Vec<String>,
    color: bool,
}

impl LineLayer {
    pub(super) fn new(config: LogConfig, color: bool, shared: Arc<Shared>, queue: LineQueue) -> Self {
        Self {
            shared,
            queue,
            format: config.format,
            clock: config.clock,
            source_location: config.source_location,
            redact: config.redact,
            color,
        }
    }

    fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        match self.clock {
            Clock::Utc => now,
            // Was known to work when the log was set up; should it stop to, the offset says that this is UTC.
            Clock::Local => now.to_offset(UtcOffset::local_offset_at(now).unwrap_or(UtcOffset::UTC)),
        }
    }

    fn is_redacted(&self, name: &str) -> bool {
        self.redact.iter().any(|secret| {
            let Some(start) = name.len().checked_sub(secret.len()) else {
                return false;
            };
            let (before, end) = name.as_bytes().split_at(start);
            end.eq_ignore_ascii_case(secret.as_bytes())
                && before
                    .last()
                    .is_none_or(|byte| matches!(byte, b'_' | b'-' | b'.'))
        })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LineLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut recorder = Recorder::of_span(self);
        attributes.record(&mut recorder);
        let outer = span
            .parent()
            .and_then(|parent| parent.extensions().get::<Scope>()?.namespace.clone());
        let namespace = joined(outer, recorder.namespace);
        let fields = recorder.fields;
        span.extensions_mut().replace(Scope { namespace, fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let mut recorder = Recorder::of_span(self);
        values.record(&mut recorder);
        let outer = span
            .parent()
            .and_then(|parent| parent.extensions().get::<Scope>()?.namespace.clone());
        let mut extensions = span.extensions_mut();
        let Some(scope) = extensions.get_mut::<Scope>() else {
            return;
        };
        if recorder.namespace.is_some() {
            scope.namespace = joined(outer, recorder.namespace);
        }
        for field in recorder.fields {
            scope.fields.retain(|known| known.name != field.name);
            scope.fields.push(field);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut recorder = Recorder::of_event(self);
        event.record(&mut recorder);
        let mut fields = recorder.fields;
        let mut namespace = None;
        for (depth, span) in context.event_scope(event).into_iter().flatten().enumerate() {
            let extensions = span.extensions();
            let Some(scope) = extensions.get::<Scope>() else {
                continue;
            };
            if depth == 0 {
                namespace.clone_from(&scope.namespace);
            }
            fields.extend(scope.fields.iter().cloned());
        }
        let metadata = event.metadata();
        let caller = match self.source_location {
            SourceLocation::Shown => metadata.file().map(in_crate).zip(metadata.line()),
            SourceLocation::Hidden => None,
        };
        let line = Line {
            metadata,
            time: self.now(),
            namespace: full_namespace(namespace.as_deref(), metadata, &self.shared.root),
            trace_id: crate::telemetry::current_trace_id(),
            caller,
            message: recorder.message,
            fields,
        };
        let text = match self.format {
            Format::Json => json::format(line),
            Format::Console => console::format(line, self.color),
        };
        self.queue.push(text.into_bytes());
    }
}

fn joined(outer: Option<Arc<str>>, name: Option<String>) -> Option<Arc<str>> {
    match (outer, name) {
        (outer, None) => outer,
        (None, Some(name)) => Some(name.into()),
        (Some(outer), Some(name)) => Some(format!("{outer}.{name}").into()),
    }
}

/// A source path without the machine's own part: from the crate's directory in a registry, or as the compiler gives it.
fn in_crate(file: &str) -> &str {
    file.split_once("/registry/src/")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or(file, |(_, rest)| rest)
}

/// Takes down the fields of an event or a span.
struct Recorder<'a> {
    layer: &'a LineLayer,
    is_span: bool,
    message: String,
    namespace: Option<String>,
    fields: Vec<Field>,
}

impl<'a> Recorder<'a> {
    fn of_event(layer: &'a LineLayer) -> Self {
        Self {
            layer,
            is_span: false,
            message: String::new(),
            namespace: None,
            fields: Vec::new(),
        }
    }

    fn of_span(layer: &'a LineLayer) -> Self {
        Self {
            is_span: true,
            ..Self::of_event(layer)
        }
    }

    fn add(&mut self, field: &TracingField, value: impl FnOnce() -> Value) {
        let name = field.name();
        let value = if self.layer.is_redacted(name) {
            Value::Text(REDACTED.to_owned())
        } else {
            value()
        };
        match (name, value) {
            ("message", Value::Text(message)) if !self.is_span => self.message = message,
            (NAMESPACE_FIELD, Value::Text(namespace)) if self.is_span && is_namespace(&namespace) => {
                self.namespace = Some(namespace);
            }
            (_, value) => self.fields.push(Field { name, value }),
        }
    }
}

impl Visit for Recorder<'_> {
    fn record_bool(&mut self, field: &TracingField, value: bool) {
        self.add(field, || Value::Bool(value));
    }

    fn record_i64(&mut self, field: &TracingField, value: i64) {
        self.add(field, || Value::Signed(value.into()));
    }

    fn record_u64(&mut self, field: &TracingField, value: u64) {
        self.add(field, || Value::Unsigned(value.into()));
    }

    fn record_i128(&mut self, field: &TracingField, value: i128) {
        self.add(field, || Value::Signed(value));
    }

    fn record_u128(&mut self, field: &TracingField, value: u128) {
        self.add(field, || Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &TracingField, value: f64) {
        self.add(field, || Value::Float(value));
    }

    fn record_str(&mut self, field: &TracingField, value: &str) {
        self.add(field, || Value::Text(value.to_owned()));
    }

    fn record_error(&mut self, field: &TracingField, value: &(dyn std::error::Error + 'static)) {
        self.add(field, || {
            let mut text = value.to_string();
            let mut next = value.source();
            while let Some(source) = next {
                text.push_str(": ");
                text.push_str(&source.to_string());
                next = source.source();
            }
            Value::Text(text)
        });
    }

    fn record_debug(&mut self, field: &TracingField, value: &dyn fmt::Debug) {
        self.add(field, || Value::Text(format!("{value:?}")));
    }
}
