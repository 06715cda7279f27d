//! Index names as directory names: any UTF-8 in, portable and distinct names out. Pure functions.

use sha2::{Digest, Sha256};

/// The longest directory name made by escaping; longer ones become a digest. File systems allow 255 bytes.
const MAX_ESCAPED: usize = 200;

/// The directory name of an index.
///
/// Lower-case ASCII letters, digits, `_` and `-` stand for themselves, every other byte becomes `%` and two upper-case
/// hexadecimal digits: distinct names stay distinct, also on a file system that ignores case, and no name can leave
/// the directory. A name whose escape is too long becomes `=` and its SHA-256, which no escape begins with.
pub(crate) fn directory_name(index: &str) -> String {
    let mut escaped = String::with_capacity(index.len());
    for byte in index.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => escaped.push(char::from(byte)),
            _ => {
                escaped.push('%');
                push_hex(&mut escaped, byte, b"0123456789ABCDEF");
            }
        }
    }
    if escaped.len() <= MAX_ESCAPED {
        return escaped;
    }
    format!("={}", hex(&Sha256::digest(index.as_bytes())))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        push_hex(&mut text, *byte, b"0123456789abcdef");
    }
    text
}

fn push_hex(text: &mut String, byte: u8, digits: &[u8; 16]) {
    text.push(char::from(digits[usize::from(byte >> 4)]));
    text.push(char::from(digits[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_leaves_the_directory_and_nothing_collides() {
        let long = "消息".repeat(80);
        let names = [
            "messages", "Messages", ".", "..", "../x", "/etc", "a/b", "a%2Fb", "a b", "消息", "é",
            "e\u{301}", "\0", "=", "CON", &long,
        ];
        let mut seen = HashMap::new();
        for name in names {
            let escaped = directory_name(name);
            assert!(
                escaped.len() <= 255 && !escaped.contains(['/', '\\', '.', '\0']),
                "{escaped}"
            );
            assert_eq!(seen.insert(escaped.to_lowercase(), name), None, "{name:?}");
        }
        assert_eq!(directory_name("chat_2"), "chat_2");
        assert_eq!(directory_name("A."), "%41%2E");
    }

    proptest! {
        #[test]
        fn escaping_is_injective(a in ".{1,40}", b in ".{1,40}") {
            prop_assert_eq!(directory_name(&a).to_lowercase() == directory_name(&b).to_lowercase(), a == b);
        }
    }
}
