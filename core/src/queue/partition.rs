//! Which partition a key belongs to: the hash of the Java client, so that services in several languages agree.

use std::num::NonZeroU32;

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// MurmurHash2 (32 bit, seed `0x9747b28c`), bit for bit as `org.apache.kafka.common.utils.Utils.murmur2` computes it.
///
/// ```
/// assert_eq!(infra_core::queue::murmur2(b"foobar"), (-790_332_482_i32).cast_unsigned());
/// ```
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    // The algorithm works on the length modulo 2^32, as the Java client's `int` does.
    let length = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut mixed = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// The partition of a key: [`murmur2`] with the sign bit cleared, modulo the number of partitions, as the Java client's
/// default partitioner chooses it.
///
/// ```
/// use std::num::NonZeroU32;
/// use infra_core::queue::partition_of;
///
/// let partitions = NonZeroU32::new(8).unwrap();
/// assert_eq!(partition_of(b"user123", partitions), partition_of(b"user123", partitions));
/// ```
#[must_use]
pub fn partition_of(key: &[u8], partitions: NonZeroU32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the Java client's own `UtilsTest`.
    #[test]
    fn equals_the_java_client() {
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in vectors {
            assert_eq!(murmur2(key).cast_signed(), expected, "{key:?}");
        }
    }

    #[test]
    fn a_negative_hash_gives_a_partition() {
        let partitions = NonZeroU32::new(8).expect("not zero");
        assert_eq!(
            partition_of(b"21", partitions),
            ((-973_932_308_i32) & 0x7fff_ffff).cast_unsigned() % 8
        );
    }
}
