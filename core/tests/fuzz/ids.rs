//! Snowflake ids as sortable text.

use infra_core::uid::{snowflake_from_text, snowflake_to_text};
use infra_testkit::fuzz::Start;

infra_testkit::fuzz!(
    /// No id has two texts, and texts sort as their ids do.
    snowflake_texts_are_one_to_one,
    Start::new(&["006AGYTDHV0JE", "0000000000000", "7ZZZZZZZZZZZZ", "0000000000010"])
        .with_words(&["Z", "8", "I", "L", "O", "U", "a", "ZZZZZZZZZZZZZ"]),
    |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(id) = snowflake_from_text(&text) {
            assert_eq!(snowflake_to_text(id).ok().as_deref(), Some(&*text));
            if let Some(next) = id.checked_add(1) {
                assert!(snowflake_to_text(next).is_ok_and(|next| *next > *text));
            }
        }
        let number = input.iter().fold(0_i64, |number, byte| number.wrapping_mul(257) ^ i64::from(*byte));
        match snowflake_to_text(number) {
            Ok(text) => assert_eq!(snowflake_from_text(&text).ok(), Some(number)),
            Err(_) => assert!(number < 0, "{number}"),
        }
    }
);
