//! What every producer does to a message before it leaves: validation, trace headers, time stamp. No I/O.

use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Message, names};
use crate::capability::{Capabilities, Capability, Limits};
use crate::error::{Error, Result};
use crate::telemetry::TraceContext;

/// The longest name of a header, in bytes: what AMQP's short strings hold.
pub const MAX_HEADER_NAME_BYTES: usize = 255;

/// Checks a message against what a broker declares, and completes it: the trace context of the work at hand goes into the
/// headers unless the message carries one of its own, and the time stamp is set unless the sender did.
///
/// Every producer calls this once for every message, before any I/O.
///
/// ```
/// use infra_core::capability::{Capabilities, Limits};
/// use infra_core::queue::{Message, prepare};
///
/// let declared = Capabilities::new(Limits::DEFAULT);
/// let message = prepare(Message::new("orders", "{}"), &declared)?;
/// assert!(message.timestamp.is_some());
/// assert!(prepare(Message::new("", "{}"), &declared).is_err());
/// # Ok::<(), infra_core::Error>(())
/// ```
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a topic, key, header, payload or delay outside the limits;
/// [`Unsupported`](crate::ErrorKind::Unsupported) for a delay without [`Capability::DelayedDelivery`].
pub fn prepare(mut message: Message, declared: &Capabilities) -> Result<Message> {
    check(&message, declared)?;
    if message.headers.get(names::TRACEPARENT).is_none() && message.headers.get(names::TRACE_ID).is_none() {
        add_trace_context(&mut message);
    }
    message.timestamp.get_or_insert_with(SystemTime::now);
    Ok(message)
}

/// Adds the `X-Timestamp` header (RFC 3339, UTC) for readers that do not see the broker's own time stamp.
///
/// A message without a time stamp, or with one outside the years that RFC 3339 can write, stays as it is.
pub fn add_timestamp_header(message: &mut Message) {
    let Some(timestamp) = message.timestamp else {
        return;
    };
    if let Ok(text) = OffsetDateTime::from(timestamp).format(&Rfc3339) {
        message.headers.set(names::TIMESTAMP, text);
    }
}

/// The trace context that a message carries in its headers: `traceparent`, else `X-Trace-ID`, else `None`.
#[must_use]
pub fn trace_context_of(message: &Message) -> Option<TraceContext> {
    message
        .headers
        .get_str(names::TRACEPARENT)
        .and_then(TraceContext::parse_traceparent)
        .or_else(|| {
            message
                .headers
                .get_str(names::TRACE_ID)
                .filter(|id| !id.is_empty())
                .map(TraceContext::from_trace_id)
        })
}

fn add_trace_context(message: &mut Message) {
    let Some(context) = TraceContext::current() else {
        return;
    };
    if let Some(traceparent) = context.traceparent() {
        message.headers.set(names::TRACEPARENT, traceparent);
    }
    message
        .headers
        .set(names::TRACE_ID, context.trace_id().to_owned());
}

fn check(message: &Message, declared: &Capabilities) -> Result<()> {
    let limits = declared.limits();
    check_topic(&message.topic, limits)?;
    if let Some(key) = &message.key {
        check_message_key(key.len(), limits)?;
    }
    limits.check_value("payload", message.payload.len())?;
    check_headers(message, limits)?;
    let Some(delay) = message.delay else {
        return Ok(());
    };
    if !declared.has(Capability::DelayedDelivery) {
        return Err(Error::unsupported("delayed delivery"));
    }
    if delay > limits.max_ttl {
        return Err(Error::invalid_argument(format!(
            "a delay of {delay:?} is longer than the {:?} that this backend accepts",
            limits.max_ttl
        )));
    }
    Ok(())
}

/// Refuses a topic name that is empty, too long, or contains a control character.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
pub(super) fn check_topic(topic: &str, limits: &Limits) -> Result<()> {
    limits.check_key("topic", topic)?;
    if topic.chars().any(char::is_control) {
        return Err(Error::invalid_argument(
            "the topic contains a control character; use letters, digits, dots, dashes and underscores",
        ));
    }
    Ok(())
}

fn check_message_key(bytes: usize, limits: &Limits) -> Result<()> {
    if bytes == 0 {
        return Err(Error::invalid_argument(
            "the key is empty; leave it out or give at least one byte",
        ));
    }
    if bytes > limits.max_key_bytes {
        return Err(Error::invalid_argument(format!(
            "the key has {bytes} bytes, more than the {} allowed; use a digest of it",
            limits.max_key_bytes
        )));
    }
    Ok(())
}

fn check_headers(message: &Message, limits: &Limits) -> Result<()> {
    let mut bytes = 0_usize;
    for (name, value) in message.headers.iter() {
        if name.is_empty() || name.len() > MAX_HEADER_NAME_BYTES {
            return Err(Error::invalid_argument(format!(
                "a header name has {} bytes; it must have 1 to {MAX_HEADER_NAME_BYTES}",
                name.len()
            )));
        }
        bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
    }
    limits.check_value("set of headers", bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ErrorKind;
    use crate::telemetry::{with_trace_context, with_trace_id};

    fn declared() -> Capabilities {
        Capabilities::new(Limits::DEFAULT.with_max_key_bytes(8).with_max_value_bytes(16))
    }

    #[test]
    fn refuses_what_cannot_be_sent() {
        let long_name = "n".repeat(256);
        let refused = [
            Message::new("", "p"),
            Message::new("123456789", "p"),
            Message::new("a\nb", "p"),
            Message::new("t", "p").with_key(""),
            Message::new("t", "p").with_key("123456789"),
            Message::new("t", "12345678901234567"),
            Message::new("t", "p").with_header("", "v"),
            Message::new("t", "p").with_header(long_name, "v"),
            Message::new("t", "p").with_header("name", "12345678901234567"),
        ];
        for message in refused {
            let error = prepare(message.clone(), &declared()).expect_err("must be refused");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{message:?}");
        }
        let delayed = Message::new("t", "p").with_delay(Duration::from_secs(1));
        let error = prepare(delayed.clone(), &declared()).expect_err("no capability");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let declared = declared().with(Capability::DelayedDelivery);
        assert!(prepare(delayed, &declared).is_ok());
        let endless = Message::new("t", "p").with_delay(Duration::MAX);
        let error = prepare(endless, &declared).expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }

    #[tokio::test]
    async fn the_trace_travels_unless_the_message_has_its_own() {
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse_traceparent(traceparent).expect("valid");
        let declared = Capabilities::new(Limits::DEFAULT);
        let sent = with_trace_context(context.clone(), async {
            prepare(Message::new("t", "p"), &declared)
        })
        .await
        .expect("fits");
        assert_eq!(sent.headers.get_str(names::TRACEPARENT), Some(traceparent));
        assert_eq!(trace_context_of(&sent), Some(context));

        let sent = with_trace_id("other", async {
            prepare(
                Message::new("t", "p").with_header(names::TRACE_ID, "own"),
                &declared,
            )
        })
        .await
        .expect("fits");
        assert_eq!(sent.headers.get_str(names::TRACE_ID), Some("own"));
        assert_eq!(sent.headers.get(names::TRACEPARENT), None);
        assert_eq!(trace_context_of(&Message::new("t", "p")), None);
    }

    #[test]
    fn the_timestamp_header_is_rfc_3339() {
        let mut message = Message::new("t", "p").with_timestamp(SystemTime::UNIX_EPOCH);
        add_timestamp_header(&mut message);
        assert_eq!(
            message.headers.get_str(names::TIMESTAMP),
            Some("1970-01-01T00:00:00Z")
        );
    }
}
