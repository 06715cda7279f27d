#![doc = include_str!("../README.md")]

pub mod assembly;
pub mod config;
pub mod fleet;
pub mod http;
pub mod indexer;
pub mod model;
pub mod moderation;
pub mod replay;
pub mod service;
pub mod store;
pub mod timeline;

/// The examples of the root README compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct RootReadme;
