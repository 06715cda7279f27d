//! Reading stored JSON: errors that say where it does not fit and what was expected, never what was there.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads JSON text.
pub(crate) fn decode<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let mut document = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let place = format!("line {}, column {}", error.inner().line(), error.inner().column());
        describe(&error.path().to_string(), &place, error.inner())
    })?;
    document
        .end()
        .map_err(|error| format!("something follows the JSON document at column {}", error.column()))?;
    Ok(value)
}

/// Reads a JSON value.
pub(crate) fn decode_value<T: DeserializeOwned>(value: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| describe(&error.path().to_string(), "", error.inner()))
}

/// Reads a JSON value, or says at which path it does not fit (empty for the value itself) and why.
pub(crate) fn decode_value_at<T: DeserializeOwned>(value: Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." || path == "?" => String::new(),
            path => path,
        };
        (path, without_value(&error.inner().to_string()))
    })
}

/// What is wrong, with its path; `place` for text that is no JSON at all.
fn describe(path: &str, place: &str, error: &serde_json::Error) -> String {
    if !error.is_data() {
        return format!("it is not JSON ({place})");
    }
    match path {
        "." | "?" => without_value(&error.to_string()),
        path => format!("{path}: {}", without_value(&error.to_string())),
    }
}

/// Serde quotes the offending value before it says what was expected; only the latter is kept.
fn without_value(message: &str) -> String {
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(message, _)| message);
    let names_a_field = ["unknown field", "missing field", "duplicate field"];
    if names_a_field
        .iter()
        .any(|beginning| message.starts_with(beginning))
    {
        return message.to_owned();
    }
    match message.rsplit_once(", expected ") {
        Some((_, expected)) => format!("expected {expected}"),
        None => "the value does not fit".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only decoded")]
    struct Login {
        user: String,
        tries: u32,
        role: Option<Role>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Role {
        Admin,
    }

    #[test]
    fn says_where_and_what_was_expected_and_never_what_was_there() {
        for (text, expected) in [
            (
                r#"{"user":"a","tries":"hunter2, expected nothing"}"#,
                "tries: expected u32",
            ),
            (r#"{"user":"a","tries":-5}"#, "tries: expected u32"),
            (
                r#"{"user":"a","tries":1,"role":"hunter2"}"#,
                "role: expected `admin`",
            ),
            (r#"{"user":"a"}"#, "missing field `tries`"),
            (
                r#"{"user":"a","tries":1,"rol":1}"#,
                "rol: unknown field `rol`, expected one of `user`, `tries`, `role`",
            ),
            (r#"{"user":"hunter2"#, "it is not JSON (line 1, column 16)"),
            (
                r#"{"user":"a","tries":1} hunter2"#,
                "something follows the JSON document at column 24",
            ),
        ] {
            let message = decode::<Login>(text.as_bytes()).expect_err(text);
            assert_eq!(message, expected, "{text}");
        }
        let value = serde_json::json!({ "user": "a", "tries": "hunter2" });
        assert_eq!(
            decode_value::<Login>(value).expect_err("text"),
            "tries: expected u32"
        );
    }
}
