#![doc = include_str!("../README.md")]

mod batch;
mod cache;
mod config;
mod database;
mod dialect;
mod dsn;
mod error;
#[cfg(test)]
mod fuzz;
mod migrate;
mod observe;
mod register;
mod router;
mod scatter;
mod sqlite;
mod statement;
mod transaction;

pub use config::{Durability, SqlConfig};
pub use database::SqlDatabase;
pub use register::register;

/// The driver, for what [`SqlDatabase::pool`] gives access to.
pub use sqlx;
