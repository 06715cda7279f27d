//! Headers of a message: names to bytes, in order, kept by every backend as they are.

use std::fmt;

use bytes::Bytes;

/// The names of the headers that infra itself writes and reads.
pub mod names {
    /// The plain trace id.
    pub const TRACE_ID: &str = crate::telemetry::TraceContext::TRACE_ID_HEADER;
    /// The W3C trace context.
    pub const TRACEPARENT: &str = crate::telemetry::TraceContext::TRACEPARENT_HEADER;
    /// When the message was sent, RFC 3339; for readers that do not see the broker's own timestamp.
    pub const TIMESTAMP: &str = "X-Timestamp";
    /// A stable id of the message, by which a consumer recognises a duplicate.
    pub const MESSAGE_ID: &str = "X-Message-ID";
    /// How often the message was delivered before, in decimal.
    pub const ATTEMPT: &str = "X-Attempt";
    /// In a dead-letter topic: the topic that the message came from.
    pub const ORIGINAL_TOPIC: &str = "X-Original-Topic";
    /// In a dead-letter topic: the consumer group that gave it up.
    pub const ORIGINAL_GROUP: &str = "X-Original-Group";
    /// In a dead-letter topic: why it was given up.
    pub const DEAD_LETTER_REASON: &str = "X-Dead-Letter-Reason";
}

/// Headers. A name may occur several times; order is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    entries: Vec<(String, Bytes)>,
}

/// Shows names only: a value may be a secret.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Headers {
    /// No header.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces every header of this name by one.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        let name = name.into();
        self.remove(&name);
        self.entries.push((name, value.into()));
    }

    /// Adds a header and keeps those of the same name.
    pub fn append(&mut self, name: impl Into<String>, value: impl Into<Bytes>) {
        self.entries.push((name.into(), value.into()));
    }

    /// The last value of a name, or `None`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Bytes> {
        self.entries
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The last value of a name if it is UTF-8.
    #[must_use]
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }

    /// Removes every header of this name.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|(key, _)| key != name);
    }

    /// All headers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The number of headers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
