//! The messages of this service, as they are asked for, stored, queued and searched.

use infra_core::error::{Error, Result};
use infra_core::search::{FieldKind, IndexSchema, Indexable};
use serde::{Deserialize, Serialize};

/// The topic on which stored messages are announced; the key is the session.
pub const TOPIC: &str = "chat.messages";
/// The search index.
pub const INDEX: &str = "chat-messages";
/// The longest text of a message, in bytes.
pub const MAX_CONTENT_BYTES: usize = 16 * 1024;
/// The longest session, sender and idempotency key, in bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// What a client asks to be sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// The session that it belongs to.
    pub session_id: String,
    /// Who wrote it.
    pub sender_id: String,
    /// The text.
    pub content: String,
    /// The language, if it is known.
    #[serde(default)]
    pub lang: Option<String>,
}

/// Leaves the text out: what people write does not belong in a log.
impl std::fmt::Debug for NewMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewMessage")
            .field("session_id", &self.session_id)
            .field("sender_id", &self.sender_id)
            .field("content_bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}

impl NewMessage {
    /// Refuses what could not be stored or found again.
    ///
    /// # Errors
    /// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) names every field that is wrong.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        for (field, value) in [("session_id", &self.session_id), ("sender_id", &self.sender_id)] {
            if value.is_empty() || value.len() > MAX_NAME_BYTES {
                problems.push(format!(
                    "{field} must have 1 to {MAX_NAME_BYTES} bytes, not {}",
                    value.len()
                ));
            }
        }
        if self.content.is_empty() || self.content.len() > MAX_CONTENT_BYTES {
            problems.push(format!(
                "content must have 1 to {MAX_CONTENT_BYTES} bytes, not {}",
                self.content.len()
            ));
        }
        let texts = [
            ("session_id", Some(&self.session_id)),
            ("sender_id", Some(&self.sender_id)),
            ("content", Some(&self.content)),
            ("lang", self.lang.as_ref()),
        ];
        for (field, text) in texts {
            // Legal in JSON and SQLite, refused by other databases.
            if text.is_some_and(|text| text.contains('\0')) {
                problems.push(format!("{field} must not contain the character U+0000"));
            }
        }
        if self.lang.as_ref().is_some_and(|lang| lang.len() > MAX_NAME_BYTES) {
            problems.push(format!("lang must have at most {MAX_NAME_BYTES} bytes"));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::invalid_argument(problems.join("; ")))
        }
    }
}

/// A message as it was stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Its id: a snowflake, so that ids sort by time. A string in JSON, which has no 64-bit integers everywhere.
    #[serde(with = "id_as_text")]
    pub id: i64,
    /// The session that it belongs to.
    pub session_id: String,
    /// Who wrote it.
    pub sender_id: String,
    /// The text.
    pub content: String,
    /// The language, if it is known.
    #[serde(default)]
    pub lang: Option<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub sent_at: i64,
}

/// Leaves the text out.
impl std::fmt::Debug for ChatMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatMessage")
            .field("id", &self.id)
            .field("session_id", &self.session_id)
            .finish_non_exhaustive()
    }
}

impl ChatMessage {
    /// The schema of the search index.
    #[must_use]
    pub fn schema() -> IndexSchema {
        IndexSchema::new()
            .with_field("session_id", FieldKind::Keyword)
            .with_field("sender_id", FieldKind::Keyword)
            .with_field("lang", FieldKind::Keyword)
            .with_field("content", FieldKind::Text)
            .with_field("sent_at", FieldKind::Integer)
    }
}

impl Indexable for ChatMessage {
    fn id(&self) -> String {
        self.id.to_string()
    }
}

/// What became of a request to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The message's id.
    #[serde(with = "id_as_text")]
    pub id: i64,
    /// When it was accepted, in milliseconds since 1970.
    pub sent_at: i64,
}

/// Ids travel as text: a JavaScript reader would round them.
mod id_as_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let message = NewMessage {
            session_id: String::new(),
            sender_id: "x".repeat(300),
            content: String::new(),
            lang: None,
        };
        let error = message.validate().expect_err("all wrong");
        for field in ["session_id", "sender_id", "content"] {
            assert!(error.message().contains(field), "{error}");
        }
    }

    #[test]
    fn ids_survive_json_as_text() {
        let sent = Sent {
            id: i64::MAX,
            sent_at: 0,
        };
        let text = serde_json::to_string(&sent).expect("json");
        assert!(text.contains("\"9223372036854775807\""));
        assert_eq!(serde_json::from_str::<Sent>(&text).expect("json"), sent);
    }
}
