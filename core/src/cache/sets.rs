//! Sets: distinct members under one key.

use async_trait::async_trait;
use bytes::Bytes;

use super::Keys;
use crate::error::Result;

/// Sets. A set without members does not exist.
#[crate::intercept(component = "cache")]
#[async_trait]
pub trait Sets: Keys {
    /// Adds members, and returns how many are new.
    #[call(idempotent)]
    async fn set_add(&self, key: &str, members: &[Bytes]) -> Result<u64>;

    /// Removes members, and returns how many there were.
    #[call(idempotent)]
    async fn set_remove(&self, key: &str, members: &[Bytes]) -> Result<u64>;

    /// All members, in no particular order.
    #[call(idempotent)]
    async fn set_members(&self, key: &str) -> Result<Vec<Bytes>>;

    /// Whether it is a member.
    #[call(idempotent)]
    async fn set_contains(&self, key: &str, member: Bytes) -> Result<bool>;

    /// The number of members.
    #[call(idempotent)]
    async fn set_len(&self, key: &str) -> Result<u64>;
}

crate::assert_object_safe!(Sets);
