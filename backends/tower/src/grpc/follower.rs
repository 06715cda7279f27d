//! The task that keeps a [`Fleet`] as the registry says: read, watch from there, and again after whatever goes wrong.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::StreamExt;
use infra_core::coordination::{Instance, Registry};
use infra_core::watch::Watch;
use infra_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use super::fleet::{Applied, Fleet};

/// The longest that one read, or the opening of a watch, may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// A watch that lived this long was healthy, so that the next failure starts with the shortest pause again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// How many events are applied before the choice is made anew.
const EVENTS_AT_ONCE: usize = 256;

/// How the first reading of the registry went.
#[derive(Debug, Clone)]
pub(super) enum Progress {
    /// There was no answer yet.
    Waiting,
    /// The list was read at least once.
    Read,
    /// It could not be read yet, for this reason.
    Failed(Error),
}

/// Follows until the task is aborted.
pub(super) async fn follow(
    registry: Arc<dyn Registry>,
    fleet: Arc<Fleet>,
    progress: watch::Sender<Progress>,
) {
    let mut delays = delays();
    loop {
        let begun = Instant::now();
        let ended = session(registry.as_ref(), &fleet, &progress).await;
        if begun.elapsed() >= HEALTHY_AFTER {
            delays = self::delays();
        }
        let delay = delays.next().unwrap_or(HEALTHY_AFTER);
        let service = fleet.service();
        match ended {
            Ended::HistoryLost => {
                tracing::debug!(service, "the watch of a service lost events; reading again")
            }
            Ended::Failed(error) => {
                tracing::warn!(service, %error, ?delay,
                    "a service cannot be watched; its last known instances stay in use, and it is tried again");
                progress.send_if_modified(|progress| {
                    let never_read = !matches!(progress, Progress::Read);
                    if never_read {
                        *progress = Progress::Failed(error);
                    }
                    never_read
                });
            }
        }
        tokio::time::sleep(delay).await;
        fleet.forget_missing();
    }
}

enum Ended {
    HistoryLost,
    Failed(Error),
}

/// One watch, from the reading before it to its end.
async fn session(registry: &dyn Registry, fleet: &Arc<Fleet>, progress: &watch::Sender<Progress>) -> Ended {
    match open(registry, fleet, progress).await {
        Ok(watch) => consume(watch, fleet).await,
        Err(error) => Ended::Failed(error),
    }
}

async fn open(
    registry: &dyn Registry,
    fleet: &Arc<Fleet>,
    progress: &watch::Sender<Progress>,
) -> Result<Watch<Instance>> {
    let snapshot = limited(registry.discover(fleet.service())).await?;
    let watch = limited(registry.watch_service(fleet.service(), snapshot.revision)).await;
    // A list that cannot be watched may be one that the registry remembers from before its server went away, older than
    // what this fleet has been told since. It is better than nothing, and nothing else.
    if watch.is_ok() || !matches!(*progress.borrow(), Progress::Read) {
        fleet.replace(snapshot.instances);
        progress.send_replace(Progress::Read);
    }
    watch
}

async fn consume(watch: Watch<Instance>, fleet: &Arc<Fleet>) -> Ended {
    let mut events = watch.ready_chunks(EVENTS_AT_ONCE);
    loop {
        let look_again = fleet.forget_missing();
        let batch = match look_again {
            None => events.next().await,
            Some(at) => match tokio::time::timeout_at(at, events.next()).await {
                Ok(batch) => batch,
                Err(_) => continue,
            },
        };
        let Some(batch) = batch else {
            return Ended::Failed(Error::closed("the watch of the service"));
        };
        match fleet.apply(batch) {
            Applied::Everything => {}
            Applied::HistoryLost => return Ended::HistoryLost,
            Applied::Closed(error) => return Ended::Failed(error),
        }
    }
}

async fn limited<V>(call: impl Future<Output = Result<V>>) -> Result<V> {
    tokio::time::timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("the registry did not answer within {CALL_LIMIT:?}"),
        ))
    })
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .without_max_times()
        .build()
}
