//! How a filter lies in its key.

use std::fmt;

use infra_core::cache::BloomOptions;
use infra_core::{Error, ErrorKind, Result};
use serde::Deserialize;

/// What a filter of this backend's own begins with; the last byte is the version of the format.
const MAGIC: [u8; 8] = *b"infraBF\x01";
/// How many bytes stand before the bits.
const HEAD: usize = 40;
/// How many bits a string of Redis holds.
const MOST_BITS: u64 = 1 << 32;

/// Refuses a filter that no key can hold.
pub(super) fn check_size(options: &BloomOptions) -> Result<()> {
    let bits = options.bits();
    if bits > MOST_BITS - 8 * HEAD as u64 {
        return Err(Error::invalid_argument(format!(
            "a bloom filter for {} items at an error rate of {} takes {} MiB, and a key of Redis holds 512; spread the items over \
             several filters, or accept a greater error rate",
            options.capacity,
            options.error_rate,
            bits / 8 / 1024 / 1024
        )));
    }
    Ok(())
}

/// What stands before the bits.
pub(super) fn head_of(options: &BloomOptions) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&options.bits().to_be_bytes());
    head.extend_from_slice(&options.hashes().to_be_bytes());
    head.extend_from_slice(&[0; 4]);
    head.extend_from_slice(&options.capacity.to_be_bytes());
    head.extend_from_slice(&options.error_rate.to_be_bytes());
    head
}

/// The options of a filter that begins so.
pub(super) fn options_of(head: &[u8]) -> Option<BloomOptions> {
    let capacity = head.get(24..32)?.try_into().ok()?;
    let error_rate = head.get(32..40)?.try_into().ok()?;
    Some(BloomOptions::new(
        f64::from_be_bytes(error_rate),
        u64::from_be_bytes(capacity),
    ))
}

/// The place of the last bit, behind the head.
pub(super) fn last_bit(options: &BloomOptions) -> u64 {
    8 * HEAD as u64 + options.bits() - 1
}

/// The layout as im-infra writes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Meta {
    m: u64,
    k: u64,
    n: u64,
}

impl Meta {
    pub(super) fn of(options: &BloomOptions) -> Self {
        Self {
            m: options.bits(),
            k: u64::from(options.hashes()),
            n: options.capacity,
        }
    }

    pub(super) fn read(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|_| {
            Error::new(
                ErrorKind::DataCorrupted,
                "the layout of the bloom filter, which some other program stored, is no object with the numbers m, k and n",
            )
        })
    }
}

impl fmt::Display for Meta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, r#"{{"m":{},"k":{},"n":{}}}"#, self.m, self.k, self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_its_options() {
        let options = BloomOptions::new(0.01, 1_000_000);
        let head = head_of(&options);
        assert_eq!((head.len(), options_of(&head)), (HEAD, Some(options)));
        assert_eq!(
            head.get(8..20),
            Some(&[0, 0, 0, 0, 0, 0x92, 0x41, 0xa3, 0, 0, 0, 7][..])
        );
        assert_eq!(options_of(b"short"), None);
    }

    #[test]
    fn a_filter_has_its_place_in_one_key() {
        assert!(check_size(&BloomOptions::new(0.01, 400_000_000)).is_ok());
        for (rate, capacity) in [
            (0.01, 450_000_000),
            (f64::MIN_POSITIVE, u64::MAX),
            (0.5, u64::MAX),
        ] {
            assert!(
                check_size(&BloomOptions::new(rate, capacity)).is_err(),
                "{rate}, {capacity}"
            );
        }
    }

    #[test]
    fn a_layout_reads_as_it_is_written() {
        let meta = Meta::of(&BloomOptions::new(0.01, 1000));
        assert_eq!(meta.to_string(), r#"{"m":9586,"k":7,"n":1000}"#);
        assert_eq!(Meta::read(meta.to_string().as_bytes()).ok(), Some(meta));
        assert!(Meta::read(b"{}").is_err());
    }
}
