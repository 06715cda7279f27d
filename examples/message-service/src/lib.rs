#![doc = include_str!("../README.md")]

pub mod assembly;
pub mod config;
pub mod http;
pub mod indexer;
pub mod model;
pub mod moderation;
pub mod replay;
pub mod service;
pub mod store;
pub mod timeline;
