//! Real servers for tests: their addresses, read from the environment, and the command that starts them.
//!
//! `cargo servers up` starts every server that this machine can have and prints one environment variable for each; a test asks
//! [`url`] (or [`require`]) for it, and a fault test stops or freezes the server through `control` (feature `servers`).
//!
//! This file reads the environment and starts nothing. What starts servers is behind the feature `servers`: `Set` is a set of
//! running servers with its state in one folder, `recipes/` knows one server each.

mod catalog;
mod missing;

#[cfg(feature = "servers")]
mod certificates;
#[cfg(feature = "servers")]
mod control;
#[cfg(feature = "servers")]
mod docker;
#[cfg(feature = "servers")]
mod packages;
#[cfg(feature = "servers")]
mod ports;
#[cfg(feature = "servers")]
mod probe;
#[cfg(feature = "servers")]
mod problem;
#[cfg(feature = "servers")]
mod process;
#[cfg(feature = "servers")]
mod recipe;
#[cfg(feature = "servers")]
mod recipes;
#[cfg(feature = "servers")]
mod session;
#[cfg(feature = "servers")]
mod set;
#[cfg(feature = "servers")]
mod source;
#[cfg(feature = "servers")]
mod start;
#[cfg(feature = "servers")]
mod state;

pub use catalog::{NAMES, variable};
pub use missing::{Missing, detail, require, url};

#[cfg(feature = "servers")]
pub use control::{Control, control};
#[cfg(feature = "servers")]
pub use problem::Problem;
#[cfg(feature = "servers")]
pub use set::{Set, Status, Up};
