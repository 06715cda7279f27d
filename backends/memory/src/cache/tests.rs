//! Tests of the cache in one process, one file per concern.

mod batch;
mod capacity;
mod concurrency;
mod keys;
mod lifecycle;
mod strings;
mod structures;

use std::time::Duration;

use bytes::Bytes;
use infra_core::{ErrorKind, Result};

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    result.expect_err("must be refused").kind()
}

async fn pass(milliseconds: u64) {
    tokio::time::advance(Duration::from_millis(milliseconds)).await;
}
