//! Where things are kept: one folder for each contract below the configured prefix, and names that nothing on the way normalises.
//!
//! Consul's HTTP interface redirects `//` and `..` and refuses what it cannot print. So a name is escaped byte by byte, each byte
//! by what stands before it alone: then the beginning of a name is the beginning of its escaped form, and prefixes stay prefixes.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The scheme of keys below one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// Where configuration is kept.
    pub(crate) fn configuration(&self) -> String {
        format!("{}config/", self.prefix)
    }

    /// Where those who hold or wait for a lock stand in line.
    pub(crate) fn lock(&self, key: &str) -> String {
        format!("{}locks/{}/", self.prefix, segment(key))
    }

    /// Where the numbers of a service's instances are taken.
    pub(crate) fn instance_ids(&self, service: &str) -> String {
        format!("{}instance_ids/{}/", self.prefix, segment(service))
    }
}

/// Which bytes of a name stay as they are, besides what stands alone or first in a part of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Several parts of a path.
    Parts,
    /// One part of a path.
    Part,
    /// One part, where `A` and `a` are the same and the name may stand between quotes.
    Caseless,
}

/// How a name is kept as several parts of a path: `/` separates them where a path may have it.
pub(crate) fn stored(name: &str) -> String {
    escaped(name, Form::Parts)
}

/// How a name is kept as one part of a path.
pub(crate) fn segment(name: &str) -> String {
    escaped(name, Form::Part)
}

/// How a name is kept where `A` and `a` are the same.
pub(crate) fn caseless(name: &str) -> String {
    escaped(name, Form::Caseless)
}

fn escaped(name: &str, form: Form) -> String {
    let mut kept = String::with_capacity(name.len());
    let mut before = b'/';
    for byte in name.bytes() {
        let plain = match byte {
            b'%' => false,
            b'/' => form == Form::Parts && before != b'/',
            b'.' => before != b'/',
            b'A'..=b'Z' | b'"' | b'\\' | b'`' => form != Form::Caseless,
            _ => byte == b' ' || byte.is_ascii_graphic(),
        };
        if plain {
            kept.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(kept, "%{byte:02X}");
        }
        before = byte;
    }
    kept
}

/// The name that is kept like this in several parts of a path; `None` for what nobody kept through here.
pub(crate) fn name(kept: &str) -> Option<String> {
    let name = percent_encoding::percent_decode_str(kept).decode_utf8().ok()?;
    (stored(&name) == kept).then(|| name.into_owned())
}

/// The name that is kept like this where `A` and `a` are the same.
pub(crate) fn name_of_caseless(kept: &str) -> Option<String> {
    let name = percent_encoding::percent_decode_str(kept).decode_utf8().ok()?;
    (caseless(&name) == kept).then(|| name.into_owned())
}

/// What may stand in the path of a URL as it is.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// What is kept under this name, in the path of a URL.
pub(crate) fn in_path(kept: &str) -> String {
    utf8_percent_encode(kept, IN_PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 16] = [
        "users",
        "a/b",
        "a%2Fb",
        "%",
        "..",
        ".",
        "a/../b",
        "a/./b",
        "//",
        "/a",
        "a/",
        "a//b",
        ".hidden",
        "a.json",
        "ä 你\n\0",
        "%2E.",
    ];

    #[test]
    fn names_come_back() {
        for text in NAMES {
            assert_eq!(name(&stored(text)).as_deref(), Some(text));
            assert_eq!(name_of_caseless(&caseless(text)).as_deref(), Some(text));
        }
        for foreign in ["%", "a//b", "..", "%41", "%ff", "ä"] {
            assert_eq!(
                name(foreign),
                None,
                "{foreign:?} is nothing that was kept through here"
            );
        }
    }

    #[test]
    fn no_name_is_normalised_by_a_url() {
        for text in NAMES {
            for kept in [stored(text), segment(text)] {
                let url = reqwest::Url::parse(&format!("http://host/v1/kv/infra/{}", in_path(&kept)))
                    .expect("a URL");
                let path = url
                    .path()
                    .strip_prefix("/v1/kv/infra/")
                    .expect("below the folder");
                let decoded = percent_encoding::percent_decode_str(path)
                    .decode_utf8()
                    .expect("UTF-8");
                assert_eq!(decoded, kept, "{text:?}");
                assert!(
                    !path.contains("//") && !path.starts_with('/'),
                    "{text:?} is kept as {path}"
                );
                assert!(kept.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            }
        }
    }

    #[test]
    fn the_beginning_of_a_name_is_the_beginning_of_how_it_is_kept() {
        for text in NAMES {
            for (end, _) in text.char_indices() {
                assert!(
                    stored(text).starts_with(&stored(&text[..end])),
                    "{:?} of {text:?}",
                    &text[..end]
                );
            }
        }
        assert!(!stored("ratelimit-foo").starts_with(&stored("ratelimit/")));
    }

    #[test]
    fn a_segment_reaches_into_no_other_folder() {
        assert!(!segment("users/a").contains('/'));
        assert_ne!(segment("a/b"), segment("a%2Fb"));
    }
}
