//! Bloom filters: "certainly new" or "probably seen", in little memory.

use async_trait::async_trait;

use crate::backend::Backend;
use crate::error::{Error, Result};

/// How a filter is laid out.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BloomOptions {
    /// The share of new items that may be taken for seen ones when the filter is full; between 0 and 1, both excluded.
    pub error_rate: f64,
    /// How many items it is made for.
    pub capacity: u64,
}

impl BloomOptions {
    /// A filter for `capacity` items that is wrong about a share of `error_rate` of the new ones when full.
    #[must_use]
    pub const fn new(error_rate: f64, capacity: u64) -> Self {
        Self { error_rate, capacity }
    }

    /// Refuses what no filter can do.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn validate(&self) -> Result<()> {
        if !(self.error_rate > 0.0 && self.error_rate < 1.0) {
            return Err(Error::invalid_argument(format!(
                "a bloom filter's error rate must lie between 0 and 1, both excluded; {} does not",
                self.error_rate
            )));
        }
        if self.capacity == 0 {
            return Err(Error::invalid_argument(
                "a bloom filter's capacity must be at least 1",
            ));
        }
        Ok(())
    }

    /// The number of bits `⌈−n·ln p / ln²2⌉`, for capacity n and error rate p.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the formula is in reals; `as` saturates"
    )]
    pub fn bits(&self) -> u64 {
        let ln2 = std::f64::consts::LN_2;
        (-(self.capacity as f64) * self.error_rate.ln() / (ln2 * ln2)).ceil() as u64
    }

    /// The number of hash functions `⌈m/n · ln 2⌉`, for m bits and capacity n.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the formula is in reals; `as` saturates"
    )]
    pub fn hashes(&self) -> u32 {
        (self.bits() as f64 / self.capacity as f64 * std::f64::consts::LN_2).ceil() as u32
    }
}

/// Bloom filters. A filter must be reserved before it is used.
#[crate::intercept(component = "cache")]
#[async_trait]
pub trait Bloom: Backend {
    /// Makes a filter; doing it again with the same options changes nothing.
    ///
    /// # Errors
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when the filter exists with other options;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for impossible ones.
    #[call(idempotent)]
    async fn bloom_reserve(&self, key: &str, options: BloomOptions) -> Result<()>;

    /// Adds an item; `true` when it was certainly new. One round trip, so that it serves for deduplication.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound) when the filter was not reserved.
    async fn bloom_add(&self, key: &str, item: &[u8]) -> Result<bool>;

    /// `false` when the item was certainly never added; also for a filter that does not exist.
    #[call(idempotent)]
    async fn bloom_contains(&self, key: &str, item: &[u8]) -> Result<bool>;
}

crate::assert_object_safe!(Bloom);
