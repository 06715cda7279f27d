//! Slots of a cluster: which keys can be in one command.

use infra_core::{Error, Result};

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// The slot of a key as the server knows it: of what stands between the first brace and the next closing one, or of all.
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    let position = |bytes: &[u8], byte| bytes.iter().position(|found| *found == byte);
    let tag = position(key, b'{').and_then(|open| {
        let behind = key.get(open + 1..)?;
        behind.get(..position(behind, b'}')?)
    });
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// Refuses keys that do not lie in one slot.
pub(crate) fn check_one_slot<'k>(keys: impl IntoIterator<Item = &'k str>) -> Result<()> {
    let mut slots = keys.into_iter().map(|key| slot_of(key.as_bytes()));
    let first = slots.next();
    if slots.all(|slot| Some(slot) == first) {
        return Ok(());
    }
    Err(Error::invalid_argument(
        "the keys lie in different slots of the cluster; give them one hash tag, as in {42}:a and {42}:b",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"somekey"), 11_058);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"user1000"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"open{brace"), crc16(b"open{brace") % SLOTS);
    }

    #[test]
    fn keys_of_one_tag_go_together() {
        assert!(check_one_slot(["{a}1", "{a}2", "a"]).is_ok());
        assert!(check_one_slot(["a", "b"]).is_err());
        assert!(check_one_slot([]).is_ok());
    }
}
