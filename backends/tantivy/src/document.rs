//! Checking documents and making them ready for the writer, before anything is written. Pure functions.

use infra_core::capability::Limits;
use infra_core::search::Document;
use infra_core::{Error, Result};
use serde_json::Value;
use tantivy::TantivyDocument;

use crate::schema::Mapping;

/// How deep the JSON of a document may nest; what is deeper could not be read back.
const MAX_DEPTH: usize = 100;

/// A document that fits the schema, ready for the writer.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: String,
    pub(crate) version: u64,
    pub(crate) source: Vec<u8>,
    pub(crate) document: TantivyDocument,
}

/// Checks a document and serialises it.
///
/// # Errors
/// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) that names the document, and the field if one is to blame.
pub(crate) fn prepare(mapping: &Mapping, limits: &Limits, document: &Document) -> Result<Prepared> {
    limits.check_key("document id", &document.id)?;
    if !document.body.is_object() {
        return Err(Error::invalid_argument(format!(
            "the body of document {:?} is not a JSON object; index a struct or a map",
            document.id
        )));
    }
    if deeper_than(&document.body, MAX_DEPTH) {
        return Err(Error::invalid_argument(format!(
            "the body of document {:?} nests more than {MAX_DEPTH} levels deep; flatten it",
            document.id
        )));
    }
    let source = serde_json::to_vec(&document.body).map_err(|error| {
        Error::invalid_argument(format!("document {:?} cannot be written as JSON", document.id))
            .with_source(error)
    })?;
    limits.check_value("document", source.len())?;
    let made = mapping.document(&document.id, document.version, &document.body, &source)?;
    Ok(Prepared {
        id: document.id.clone(),
        version: document.version,
        source,
        document: made,
    })
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else {
        return matches!(value, Value::Array(_) | Value::Object(_));
    };
    match value {
        Value::Array(values) => values.iter().any(|value| deeper_than(value, below)),
        Value::Object(fields) => fields.values().any(|value| deeper_than(value, below)),
        _ => false,
    }
}
