#![doc = include_str!("../README.md")]

mod infra;
pub mod time;
mod unique;

pub use infra::TestInfra;
pub use unique::unique;
