//! From an [`IndexSchema`] to tantivy's schema, and from a document to tantivy's document. No I/O.

use std::collections::BTreeMap;

use infra_core::search::{FieldKind, IndexSchema};
use infra_core::{Error, Result};
use serde_json::Value;
use tantivy::TantivyDocument;
use tantivy::schema::{
    FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions,
};

/// The name under which the analysis is registered with tantivy.
pub(crate) const TOKENIZER: &str = "infra";

/// The longest keyword value, in bytes: what an index term can hold, with room to spare, and what Lucene allows.
pub(crate) const MAX_KEYWORD_BYTES: usize = 32_766;

/// The name of the fast field with document ids.
pub(crate) const ID: &str = "_id";
/// The name of the fast field with document versions.
pub(crate) const VERSION: &str = "_version";
const SOURCE: &str = "_source";

/// One field of an index.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    /// Tantivy's handle.
    pub(crate) field: Field,
    /// Tantivy's name: ours are any UTF-8, tantivy's are not, so fields are numbered.
    pub(crate) column: String,
    /// How it is indexed.
    pub(crate) kind: FieldKind,
}

/// The fields of an index, both ways.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub(crate) schema: Schema,
    pub(crate) id: Field,
    pub(crate) source: Field,
    version: Field,
    fields: BTreeMap<String, Mapped>,
}

/// Refuses a schema that no index can have.
pub(crate) fn check_schema(schema: &IndexSchema, max_name_bytes: usize) -> Result<()> {
    for (name, _) in schema.fields() {
        if name.is_empty() || name.len() > max_name_bytes {
            return Err(Error::invalid_argument(format!(
                "a field name of the schema has {} bytes; give it between 1 and {max_name_bytes}",
                name.len()
            )));
        }
    }
    Ok(())
}

impl Mapping {
    /// Maps a schema; the same schema always gives the same mapping.
    pub(crate) fn new(schema: &IndexSchema) -> Self {
        let mut builder = Schema::builder();
        let id = builder.add_text_field(ID, STRING | FAST | STORED);
        let version = builder.add_u64_field(VERSION, FAST);
        let source = builder.add_bytes_field(SOURCE, STORED);
        let mut fields = BTreeMap::new();
        for (ordinal, (name, kind)) in schema.fields().enumerate() {
            let column = format!("f{ordinal}");
            let field = match kind {
                FieldKind::Text => builder.add_text_field(&column, text_options()),
                FieldKind::Integer => builder.add_i64_field(&column, INDEXED | FAST),
                FieldKind::Float => builder.add_f64_field(&column, INDEXED | FAST),
                FieldKind::Boolean => builder.add_bool_field(&column, INDEXED | FAST),
                _ => builder.add_text_field(&column, STRING | FAST),
            };
            fields.insert(name.to_owned(), Mapped { field, column, kind });
        }
        Self {
            schema: builder.build(),
            id,
            source,
            version,
            fields,
        }
    }

    /// The field of this name.
    pub(crate) fn field(&self, name: &str) -> Result<&Mapped> {
        self.fields.get(name).ok_or_else(|| {
            Error::invalid_argument(format!(
                "the index has no field {name:?}; its fields are {}",
                self.names()
            ))
        })
    }

    /// The text fields, by name.
    pub(crate) fn text_fields(&self) -> impl Iterator<Item = (&str, &Mapped)> {
        self.fields
            .iter()
            .filter(|(_, mapped)| mapped.kind == FieldKind::Text)
            .map(|(name, mapped)| (name.as_str(), mapped))
    }

    /// Makes tantivy's document of a body that is a JSON object; `source` is the same body, serialised.
    ///
    /// # Errors
    /// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) that names the document and the field that does not fit.
    pub(crate) fn document(
        &self,
        id: &str,
        version: u64,
        body: &Value,
        source: &[u8],
    ) -> Result<TantivyDocument> {
        let mut document = TantivyDocument::default();
        document.add_text(self.id, id);
        document.add_u64(self.version, version);
        document.add_bytes(self.source, source);
        for (name, mapped) in &self.fields {
            let values = match body.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(values)) => values.as_slice(),
                Some(value) => std::slice::from_ref(value),
            };
            for value in values.iter().filter(|value| !value.is_null()) {
                add(&mut document, mapped, value).map_err(|problem| {
                    Error::invalid_argument(format!("field {name:?} of document {id:?} {problem}"))
                })?;
            }
        }
        Ok(document)
    }

    fn names(&self) -> String {
        let names: Vec<_> = self.fields.keys().map(|name| format!("{name:?}")).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}

fn text_options() -> TextOptions {
    TextOptions::default().set_indexing_options(
        TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(IndexRecordOption::WithFreqsAndPositions),
    )
}

fn add(document: &mut TantivyDocument, mapped: &Mapped, value: &Value) -> Result<(), String> {
    let field = mapped.field;
    match (mapped.kind, value) {
        (FieldKind::Text, Value::String(text)) => document.add_text(field, text),
        (FieldKind::Keyword, Value::String(keyword)) => {
            if keyword.len() > MAX_KEYWORD_BYTES {
                return Err(format!(
                    "has a keyword of {} bytes, more than the {MAX_KEYWORD_BYTES} allowed; index it as text or shorten it",
                    keyword.len()
                ));
            }
            document.add_text(field, keyword);
        }
        (FieldKind::Integer, Value::Number(number)) if number.is_i64() => {
            document.add_i64(field, number.as_i64().unwrap_or_default());
        }
        (FieldKind::Float, Value::Number(number)) => {
            document.add_f64(field, number.as_f64().unwrap_or_default());
        }
        (FieldKind::Boolean, Value::Bool(value)) => document.add_bool(field, *value),
        (kind, value) => {
            return Err(format!(
                "is {}, but the schema says {}",
                described(value),
                expected(kind)
            ));
        }
    }
    Ok(())
}

/// The kind of a JSON value, never the value itself: it may be private.
pub(crate) fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(number) if number.is_i64() => "an integer",
        Value::Number(_) => "an integer beyond 64 bits with sign",
        Value::String(_) => "a string",
        Value::Array(_) => "an array inside an array",
        Value::Object(_) => "an object",
    }
}

/// What values a field takes.
pub(crate) fn expected(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Text => "text, which takes strings",
        FieldKind::Keyword => "keyword, which takes strings",
        FieldKind::Integer => "integer, which takes whole numbers of 64 bits with sign",
        FieldKind::Float => "float, which takes numbers",
        FieldKind::Boolean => "boolean, which takes true and false",
        _ => "a kind that this backend does not know",
    }
}

/// The name of a kind in stored descriptors. `None` for kinds that this backend does not know.
pub(crate) fn kind_name(kind: FieldKind) -> Option<&'static str> {
    match kind {
        FieldKind::Text => Some("text"),
        FieldKind::Keyword => Some("keyword"),
        FieldKind::Integer => Some("integer"),
        FieldKind::Float => Some("float"),
        FieldKind::Boolean => Some("boolean"),
        _ => None,
    }
}

/// The kind of a name in stored descriptors.
pub(crate) fn kind_of(name: &str) -> Option<FieldKind> {
    [
        FieldKind::Text,
        FieldKind::Keyword,
        FieldKind::Integer,
        FieldKind::Float,
        FieldKind::Boolean,
    ]
    .into_iter()
    .find(|kind| kind_name(*kind) == Some(name))
}
