//! Cursors: where a page ended, bound to the query it belongs to. Opaque to callers; nothing is stored for them.

use infra_core::search::Query;
use infra_core::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::collect::{Key, Place};
use crate::names::hex;

/// The longest cursor that can be one of ours: an id and a keyword of the longest kind, as hexadecimal JSON.
const MAX_BYTES: usize = 512 * 1024;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// The query's fingerprint.
    q: String,
    /// A score or number; as a string, since JSON numbers are not all exact everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    /// A keyword.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<String>,
    /// The id.
    i: String,
}

/// What must be the same from page to page: the index as the caller names it, text, fields, filters and order.
pub(crate) fn fingerprint(index: &str, query: &Query) -> String {
    let text = format!(
        "{:?}",
        (index, &query.text, &query.fields, &query.filters, &query.sort)
    );
    hex(&Sha256::digest(text.as_bytes())[..16])
}

/// Writes a cursor.
pub(crate) fn encode(fingerprint: &str, place: &Place) -> Result<String> {
    let (n, k) = match &place.key {
        Key::Number(number) => (Some(*number), None),
        Key::Keyword(keyword) => (None, Some(keyword.clone())),
        Key::Missing => (None, None),
    };
    let stored = Stored {
        q: fingerprint.to_owned(),
        n,
        k,
        i: place.id.clone(),
    };
    let bytes = serde_json::to_vec(&stored).map_err(|error| {
        Error::new(infra_core::ErrorKind::Internal, "writing a cursor failed").with_source(error)
    })?;
    Ok(hex(&bytes))
}

/// Reads a cursor.
///
/// # Errors
/// [`InvalidArgument`](infra_core::ErrorKind::InvalidArgument) when it is none, or belongs to another query.
pub(crate) fn decode(fingerprint: &str, cursor: &str) -> Result<Place> {
    let stored: Stored = unhex(cursor)
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or_else(|| {
            Error::invalid_argument("the cursor is not one of this backend; take it from an earlier page")
        })?;
    if stored.q != fingerprint {
        return Err(Error::invalid_argument(
            "the cursor belongs to another query; keep index, text, fields, filters and sort the same from page to page",
        ));
    }
    let key = match (stored.n, stored.k) {
        (Some(number), _) => Key::Number(number),
        (None, Some(keyword)) => Key::Keyword(keyword),
        (None, None) => Key::Missing,
    };
    Ok(Place { key, id: stored.i })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() > MAX_BYTES || !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| {
            let high = char::from(pair[0]).to_digit(16)?;
            let low = char::from(pair[1]).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use infra_core::search::{Filter, Sort};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_query_refuses_the_cursor() {
        let query = Query::text("天气").with_filter(Filter::equals("s", 1));
        let print = fingerprint("i", &query);
        let place = Place {
            key: Key::Missing,
            id: "1".into(),
        };
        let cursor = encode(&print, &place).unwrap();
        assert_eq!(decode(&print, &cursor).unwrap(), place);
        for other in [
            fingerprint("j", &query),
            fingerprint("i", &Query::text("天")),
            fingerprint("i", &query.clone().with_sort(Sort::ascending("s"))),
            fingerprint("i", &query.clone().with_filter(Filter::equals("t", 1))),
        ] {
            assert!(decode(&other, &cursor).is_err());
        }
        assert_eq!(
            fingerprint("i", &query.with_size(3)),
            print,
            "the page size may change"
        );
    }

    proptest! {
        #[test]
        fn any_place_survives_and_any_text_is_refused(id in "\\PC*", keyword in "\\PC*", number: u64, text in "\\PC{0,40}") {
            for key in [Key::Number(number), Key::Keyword(keyword), Key::Missing] {
                let place = Place { key, id: id.clone() };
                prop_assert_eq!(decode("q", &encode("q", &place).unwrap()).unwrap(), place);
            }
            prop_assert!(decode("q", &text).is_err());
        }
    }
}
