//! What is indexed: documents, their fields, and the types that know how to become documents.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// A value that can be indexed: it serialises to a JSON object and has an id.
///
/// ```
/// use infra_core::search::Indexable;
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct ChatMessage {
///     message_id: String,
///     session_id: String,
///     content: String,
/// }
///
/// impl Indexable for ChatMessage {
///     fn id(&self) -> String {
///         self.message_id.clone()
///     }
/// }
/// # assert_eq!(ChatMessage { message_id: "1".into(), session_id: "s".into(), content: "你好".into() }.id(), "1");
/// ```
pub trait Indexable: Serialize {
    /// The id; writing the same id again replaces the document.
    fn id(&self) -> String;

    /// The version, greater for newer states. Default: 0, with which the last write wins.
    fn version(&self) -> u64 {
        0
    }
}

/// A document as the backend sees it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Document {
    /// Its id, unique in the index.
    pub id: String,
    /// Its version; a write with a smaller one than the stored one is left out. Equal versions: the last write wins.
    pub version: u64,
    /// Its body, a JSON object.
    pub body: Value,
}

/// Leaves the body out.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Document {
    /// A document of version 0.
    #[must_use]
    pub fn new(id: impl Into<String>, body: Value) -> Self {
        Self {
            id: id.into(),
            version: 0,
            body,
        }
    }

    /// The same document with a version.
    #[must_use]
    pub fn with_version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// Makes a document of a value.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when it does not serialise to a JSON object.
    pub fn of<T: Indexable + ?Sized>(value: &T) -> Result<Self> {
        let id = value.id();
        let body = serde_json::to_value(value).map_err(|source| {
            Error::invalid_argument(format!("document {id:?} cannot be written as JSON")).with_source(source)
        })?;
        if !body.is_object() {
            return Err(Error::invalid_argument(format!(
                "document {id:?} is not a JSON object; index a struct or a map"
            )));
        }
        Ok(Self {
            version: value.version(),
            id,
            body,
        })
    }
}

/// How a field is indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldKind {
    /// Full text, cut into words; found by [`Query::text`](super::Query).
    Text,
    /// An exact string: filters and sorting.
    Keyword,
    /// A signed 64-bit number: filters, ranges, sorting.
    Integer,
    /// A double: filters, ranges, sorting.
    Float,
    /// True or false: filters.
    Boolean,
}

/// The fields of an index. Fields of a document that are not in the schema are stored and returned, not indexed.
///
/// ```
/// use infra_core::search::{FieldKind, IndexSchema};
///
/// let schema = IndexSchema::new()
///     .with_field("session_id", FieldKind::Keyword)
///     .with_field("content", FieldKind::Text)
///     .with_field("sent_at", FieldKind::Integer);
/// assert_eq!(schema.fields().count(), 3);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexSchema {
    fields: BTreeMap<String, FieldKind>,
}

impl IndexSchema {
    /// No field yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same schema with one more field.
    #[must_use]
    pub fn with_field(mut self, name: impl Into<String>, kind: FieldKind) -> Self {
        self.fields.insert(name.into(), kind);
        self
    }

    /// The fields, by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, FieldKind)> {
        self.fields.iter().map(|(name, kind)| (name.as_str(), *kind))
    }

    /// The kind of a field.
    #[must_use]
    pub fn kind(&self, field: &str) -> Option<FieldKind> {
        self.fields.get(field).copied()
    }
}
