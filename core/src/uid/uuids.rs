//! UUID helpers.

use uuid::Uuid;

/// Whether a text is a UUID in its one canonical shape: 36 characters, hyphens where RFC 9562 puts them, any version.
///
/// Braces, `urn:uuid:` and 32 digits without hyphens are refused: what is accepted is stored, and two spellings of one id
/// would be two keys. Upper-case digits are accepted, as the RFC demands of readers.
///
/// ```
/// use infra_core::uid::is_valid_uuid;
///
/// assert!(is_valid_uuid("018f4e5c-6a1b-7c3d-8e9f-0123456789ab"));
/// assert!(!is_valid_uuid("{018f4e5c-6a1b-7c3d-8e9f-0123456789ab}"));
/// assert!(!is_valid_uuid("018f4e5c6a1b7c3d8e9f0123456789ab"));
/// ```
#[must_use]
pub fn is_valid_uuid(text: &str) -> bool {
    text.len() == uuid::fmt::Hyphenated::LENGTH && Uuid::try_parse(text).is_ok()
}
