//! A message.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;

use super::Headers;
use crate::error::{Error, Result};

/// A message to be sent, or as it was received.
///
/// ```
/// use infra_core::queue::Message;
///
/// let message = Message::new("user.events.registered", r#"{"id":"user123","name":"John"}"#)
///     .with_key("user123")
///     .with_header("X-Source", "signup");
/// assert_eq!(message.key.as_deref(), Some(b"user123".as_slice()));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The key: messages of one key are delivered in the order in which they were sent.
    pub key: Option<Bytes>,
    /// The content.
    pub payload: Bytes,
    /// Headers.
    pub headers: Headers,
    /// When it happened; set when sent, if the sender did not.
    pub timestamp: Option<SystemTime>,
    /// Delivers it only after this long;
    /// needs [`DelayedDelivery`](crate::capability::Capability::DelayedDelivery).
    pub delay: Option<Duration>,
}

/// Shows sizes, not contents.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .field("payload_bytes", &self.payload.len())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl Message {
    /// A message without a key.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self {
            topic: topic.into(),
            key: None,
            payload: payload.into(),
            headers: Headers::new(),
            timestamp: None,
            delay: None,
        }
    }

    /// A message whose content is a value as JSON.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when it cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(topic: impl Into<String>, value: &T) -> Result<Self> {
        let topic = topic.into();
        let payload = serde_json::to_vec(value).map_err(|source| {
            Error::invalid_argument(format!(
                "the message for topic {topic:?} cannot be written as JSON"
            ))
            .with_source(source)
        })?;
        Ok(Self::new(topic, payload))
    }

    /// Reads the content as JSON.
    ///
    /// # Errors
    /// [`DataCorrupted`](crate::ErrorKind::DataCorrupted) names the topic and the place where the content does not fit,
    /// never the content. A handler answers it with [`Disposition::DeadLetter`](super::Disposition::DeadLetter).
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        crate::json::decode(&self.payload).map_err(|misfit| {
            Error::new(
                crate::ErrorKind::DataCorrupted,
                format!(
                    "a message of topic {:?} is not of the expected type: {misfit}",
                    self.topic
                ),
            )
        })
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.set(name, value);
        self
    }

    /// Sets when it happened.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: SystemTime) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Delivers it only after `delay`.
    #[must_use]
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }
}
