//! Unique ids: UUID version 7 without state, snowflake ids fenced by a leased instance id.

mod contract;

pub use contract::{SnowflakeParts, UidProvider};
