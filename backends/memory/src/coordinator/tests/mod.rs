//! The coordinator's scenarios, under paused time.

mod config_center;
mod instance_ids;
mod registry;

use std::time::Duration;

use futures_util::StreamExt;
use infra_core::watch::{Watch, WatchEvent};

/// The next event, which must come without anybody doing anything more.
async fn next<T>(watch: &mut Watch<T>) -> WatchEvent<T> {
    tokio::time::timeout(Duration::from_secs(600), watch.next())
        .await
        .expect("an event")
        .expect("not over")
}

/// Asserts that no event is waiting.
async fn silent<T: std::fmt::Debug>(watch: &mut Watch<T>) {
    let event = tokio::time::timeout(Duration::from_millis(50), watch.next()).await;
    assert!(event.is_err(), "unexpected {event:?}");
}
