#![doc = include_str!("../README.md")]

mod analysis;
mod collect;
mod config;
mod cursor;
mod document;
mod engine;
mod error;
#[cfg(test)]
mod fuzz;
mod highlight;
mod index;
mod journal;
mod layout;
mod lookup;
mod names;
mod page;
mod query;
mod register;
mod schema;
mod search;
mod writer;

pub use config::{Durability, Storage, TantivyConfig};
pub use register::register;
pub use search::TantivySearch;

/// The name of this backend in errors and metric labels.
pub const BACKEND: &str = "tantivy";
