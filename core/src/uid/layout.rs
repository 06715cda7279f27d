//! The bits of a snowflake id, and its sortable text.
//!
//! Layout, from the highest bit: sign 0, 41 bits of milliseconds since the epoch, 10 bits of instance, 12 bits of sequence
//! (Twitter Snowflake, 2010). Two five-bit parts of the instance, data centre above worker, are bit-compatible.

use crate::error::{Error, Result};

pub(super) const SEQUENCE_BITS: u32 = 12;
pub(super) const INSTANCE_BITS: u32 = 10;
/// Ids per millisecond and instance.
pub(super) const SEQUENCES: u64 = 1 << SEQUENCE_BITS;
/// The largest instance number.
pub(super) const MAX_INSTANCE: u16 = (1 << INSTANCE_BITS) - 1;
/// The last millisecond after the epoch that fits: some 69 years.
pub(super) const MAX_MILLIS: u64 = (1 << 41) - 1;

/// A millisecond after the epoch and a sequence number in one word, so that one addition carries from one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(pub(super) u64);

impl Tick {
    /// The first tick of a millisecond.
    pub(super) const fn first_of(millis: u64) -> Self {
        Self(millis << SEQUENCE_BITS)
    }

    pub(super) const fn millis(self) -> u64 {
        self.0 >> SEQUENCE_BITS
    }

    /// The id that `instance` makes of this tick.
    pub(super) const fn id(self, instance: u16) -> i64 {
        let sequence = self.0 & (SEQUENCES - 1);
        let id = (self.millis() << (SEQUENCE_BITS + INSTANCE_BITS))
            | ((instance as u64) << SEQUENCE_BITS)
            | sequence;
        // 63 bits at most, as `millis` is at most `MAX_MILLIS`.
        id.cast_signed()
    }
}

/// Milliseconds after the epoch, instance and sequence of an id.
pub(super) fn split(id: i64) -> Result<(u64, u16, u16)> {
    let bits = u64::try_from(id).map_err(|_| {
        Error::invalid_argument("a negative number is not a snowflake id; they are all positive")
    })?;
    let millis = bits >> (SEQUENCE_BITS + INSTANCE_BITS);
    let instance = (bits >> SEQUENCE_BITS) & u64::from(MAX_INSTANCE);
    let sequence = bits & (SEQUENCES - 1);
    // Both are masked to fewer than 16 bits.
    Ok((millis, instance as u16, sequence as u16))
}

/// Crockford's Base32: no I, L, O, U, and in the order of ASCII, so that texts sort as their numbers do.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const TEXT_LENGTH: usize = 13;

/// Writes a snowflake id as 13 characters that sort as the ids do, for systems whose numbers lose digits (JSON in browsers).
///
/// The characters are those of [Crockford's Base32](https://www.crockford.com/base32.html).
///
/// ```
/// use infra_core::uid::{snowflake_from_text, snowflake_to_text};
///
/// let text = snowflake_to_text(7_125_894_512_345_678)?;
/// assert_eq!(text, "006AGYTDHV0JE");
/// assert_eq!(snowflake_from_text(&text)?, 7_125_894_512_345_678);
/// # Ok::<(), infra_core::Error>(())
/// ```
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a negative number, which is no snowflake id.
pub fn snowflake_to_text(id: i64) -> Result<String> {
    split(id)?;
    let mut rest = id.cast_unsigned();
    let mut text = [b'0'; TEXT_LENGTH];
    for character in text.iter_mut().rev() {
        *character = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    Ok(text.iter().map(|byte| char::from(*byte)).collect())
}

/// Reads what [`snowflake_to_text`] wrote; nothing else, so that no id has two texts.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
pub fn snowflake_from_text(text: &str) -> Result<i64> {
    let refused = || {
        Error::invalid_argument(
            "not the text of a snowflake id; those have 13 characters of Crockford's Base32 in upper case",
        )
    };
    if text.len() != TEXT_LENGTH {
        return Err(refused());
    }
    let mut id: u64 = 0;
    for byte in text.bytes() {
        let digit = ALPHABET
            .iter()
            .position(|character| *character == byte)
            .ok_or_else(refused)?;
        if id > (u64::MAX >> 6) {
            return Err(refused());
        }
        id = (id << 5) | digit as u64;
    }
    i64::try_from(id).map_err(|_| refused())
}
