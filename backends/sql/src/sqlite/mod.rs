//! Everything that touches sqlx's SQLite driver: one file to read for each step between a bound statement and its rows.

mod connection;
mod patience;
mod pool;
mod run;
mod shape;
mod stream;
mod values;

pub(crate) use connection::{Connection, TransactionKind};
pub(crate) use pool::Pool;
pub(crate) use run::{Outcome, Want};
pub(crate) use stream::stream;
