//! Unique ids: UUID version 7 without state, snowflake ids fenced by a leased instance id.

mod clock;
mod config;
mod contract;
mod generator;
#[cfg(all(test, interleave))]
mod interleavings;
mod layout;
mod snowflake;
mod uuids;

pub use clock::{Clock, SystemClock};
pub use config::UidConfig;
pub use contract::{SnowflakeParts, UidProvider};
pub use layout::{snowflake_from_text, snowflake_to_text};
pub use snowflake::SnowflakeIds;
pub use uuids::is_valid_uuid;
