//! How a loaded value lies in the cache: when it was to be refreshed, until when it was fresh, and whether there is one.
//!
//! One byte `0xC1` (which begins no JSON text and no UTF-8 sequence), one byte 0 for "no value" or 1, two big-endian
//! 64-bit numbers of milliseconds since the Unix epoch (refresh from, fresh until), then the value as JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::Instant;

const MARK: u8 = 0xC1;
const HEADER: usize = 18;

/// The time of day, in milliseconds since the Unix epoch, that advances with tokio's clock so that tests can pause it.
///
/// It is only compared with what other processes wrote. If their clocks disagree, values are refreshed too early or too
/// late, but never live longer than the cache's own time to live.
#[derive(Debug)]
pub(super) struct Clock {
    epoch: Duration,
    begun: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            begun: Instant::now(),
        }
    }

    pub(super) fn now(&self) -> u64 {
        milliseconds(self.epoch + self.begun.elapsed())
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What may be done with an entry now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Served as it is.
    Fresh,
    /// Served, and loaded anew in the background.
    Due,
    /// Served only if it cannot be loaded anew, this long after its time to live.
    Stale { for_milliseconds: u64 },
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) refresh_from: u64,
    pub(super) fresh_until: u64,
    /// The value as JSON, or that there is none.
    pub(super) value: Option<Bytes>,
}

impl Envelope {
    pub(super) fn age(&self, now: u64) -> Age {
        if now < self.refresh_from {
            Age::Fresh
        } else if now < self.fresh_until {
            Age::Due
        } else {
            Age::Stale {
                for_milliseconds: now - self.fresh_until,
            }
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        let body = self.value.as_deref().unwrap_or_default();
        let mut bytes = BytesMut::with_capacity(HEADER + body.len());
        bytes.put_u8(MARK);
        bytes.put_u8(self.value.is_some().into());
        bytes.put_u64(self.refresh_from);
        bytes.put_u64(self.fresh_until);
        bytes.put_slice(body);
        bytes.freeze()
    }

    /// Reads an entry; `None` for bytes that no loader wrote.
    pub(super) fn decode(bytes: &Bytes) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER>()?;
        let number = |at: usize| {
            let digits = header[at..at + 8].try_into().ok()?;
            Some(u64::from_be_bytes(digits))
        };
        let value = match (header[0], header[1]) {
            (MARK, 0) if bytes.len() == HEADER => None,
            (MARK, 1) => Some(bytes.slice(HEADER..)),
            _ => return None,
        };
        Some(Self {
            refresh_from: number(2)?,
            fresh_until: number(10)?,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_round_trips_and_foreign_bytes_are_none() {
        for value in [None, Some(Bytes::new()), Some(Bytes::from_static(b"{}"))] {
            let envelope = Envelope {
                refresh_from: 7,
                fresh_until: u64::MAX,
                value,
            };
            assert_eq!(Envelope::decode(&envelope.encode()), Some(envelope));
        }
        let mut negative = Envelope {
            refresh_from: 1,
            fresh_until: 2,
            value: None,
        }
        .encode()
        .to_vec();
        negative.push(b'x');
        for foreign in [
            &b""[..],
            b"{\"name\":\"somebody\"}",
            &[MARK; 17],
            &[MARK; 18],
            &negative,
        ] {
            assert_eq!(Envelope::decode(&Bytes::copy_from_slice(foreign)), None);
        }
    }

    infra_testkit::fuzz!(
        /// What is read is written the same again, and any bytes may lie in a cache.
        any_bytes_are_an_entry_or_none,
        infra_testkit::fuzz::Start::new(&[
            &[MARK, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, b'{', b'}'][..],
            &[MARK, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9],
            b"{}",
        ]),
        |input| {
            let bytes = Bytes::copy_from_slice(input);
            if let Some(envelope) = Envelope::decode(&bytes) {
                assert_eq!(envelope.encode(), bytes);
                for now in [0, envelope.refresh_from, envelope.fresh_until, u64::MAX] {
                    envelope.age(now);
                }
            }
        }
    );

    #[test]
    fn an_entry_is_fresh_then_due_then_stale() {
        let envelope = Envelope {
            refresh_from: 10,
            fresh_until: 20,
            value: None,
        };
        assert_eq!(envelope.age(9), Age::Fresh);
        assert_eq!(envelope.age(10), Age::Due);
        assert_eq!(envelope.age(19), Age::Due);
        assert_eq!(envelope.age(20), Age::Stale { for_milliseconds: 0 });
    }
}
