//! What a [`HotReload`] follows in the config centre, and how it starts to.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use super::follower::{Follower, Many, One, Target};
use super::snapshot::Snapshot;
use super::{HotReload, Validate};
use crate::coordination::{ConfigCenter, WatchScope};
use crate::error::{Error, Result};

/// Which key or prefix is followed, and how. A plain text converts into one.
#[derive(Debug, Clone)]
#[must_use]
pub struct Follow {
    name: String,
    snapshot: Option<PathBuf>,
    first_read: Duration,
}

impl Follow {
    /// Follows the key, or the prefix, `name`; without a snapshot, and with five seconds for the first read.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            snapshot: None,
            first_read: Duration::from_secs(5),
        }
    }

    /// Keeps what was accepted last in a file, so that the service can start while the config centre is away.
    ///
    /// The file is written whole and renamed into place, readable by its owner alone. One that is corrupt is reported in
    /// the log and ignored.
    pub fn with_snapshot(mut self, path: impl Into<PathBuf>) -> Self {
        self.snapshot = Some(path.into());
        self
    }

    /// Sets how long the first read may take.
    pub const fn with_first_read_timeout(mut self, limit: Duration) -> Self {
        self.first_read = limit;
        self
    }
}

impl From<&str> for Follow {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Follow {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

/// Keeps a [`HotReload`] following the config centre; dropping it ends that, and the last value stays.
#[must_use = "following ends when this is dropped"]
pub struct Following {
    task: JoinHandle<()>,
    connected: Arc<AtomicBool>,
}

impl Following {
    /// Whether a watch is open now. While it is not, the last good value stays and reconnection goes on.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following")
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

impl<C: Validate + DeserializeOwned + Send + Sync + 'static> HotReload<C> {
    /// Takes the value of one key of the config centre, now and whenever it changes.
    ///
    /// The value is JSON, unless the key ends in `.toml`, `.yaml` or `.yml`. A key that is not there, or is deleted, means
    /// the default. After the first read a task follows the changes; it outlives disconnections and restarts of the
    /// centre, reads again when history was lost, and ends only when the returned guard is dropped. Must be called on a
    /// tokio runtime.
    ///
    /// # Errors
    /// The error of the first read, if no snapshot could stand in for it. A value that is there but bad is no error: it is
    /// rejected, and the snapshot's value or the default stays.
    ///
    /// # Cancellation
    /// Dropping the future before it completes follows nothing; the value of the first read may be in place.
    pub async fn follow(
        &self,
        center: Arc<dyn ConfigCenter>,
        what: impl Into<Follow> + Send,
    ) -> Result<Following> {
        let what = what.into();
        let scope = WatchScope::Key(what.name.clone());
        start(center, scope, what, One::new(self.clone())).await
    }
}

impl<C: Validate + DeserializeOwned + Clone + Send + Sync + 'static> HotReload<BTreeMap<String, C>> {
    /// Takes one value per key below a prefix of the config centre: a file per rule.
    ///
    /// `app/limits/login.json` below the prefix `app/limits/` is the entry `login`. Each key stands alone: a bad value
    /// leaves the last good one of its entry, a deleted key gives its entry back to the default map or removes it. Apart
    /// from that as [`follow`](Self::follow).
    ///
    /// # Errors
    /// The error of the first read, if no snapshot could stand in for it.
    ///
    /// # Cancellation
    /// As for [`follow`](Self::follow).
    pub async fn follow_prefix(
        &self,
        center: Arc<dyn ConfigCenter>,
        what: impl Into<Follow> + Send,
    ) -> Result<Following> {
        let what = what.into();
        let scope = WatchScope::Prefix(what.name.clone());
        let target = Many::new(self.clone(), what.name.clone());
        start(center, scope, what, target).await
    }
}

async fn start<T: Target>(
    center: Arc<dyn ConfigCenter>,
    scope: WatchScope,
    what: Follow,
    target: T,
) -> Result<Following> {
    let connected = Arc::new(AtomicBool::new(false));
    let snapshot = what.snapshot.map(|path| Snapshot::new(path, &scope));
    let mut follower = Follower::new(center, scope, target, snapshot, Arc::clone(&connected));
    let restored = follower.restore().await;
    let first = tokio::time::timeout(what.first_read, follower.read())
        .await
        .unwrap_or_else(|_| Err(first_read_timeout(&what.name, what.first_read)));
    let revision = match first {
        Ok(revision) => Some(revision),
        Err(error) if error.may_pass() && restored => {
            tracing::warn!(
                key = what.name, %error,
                "the config centre is away; starting with the snapshot of its last values"
            );
            None
        }
        Err(error) => return Err(error.context(format!("reading {:?} from the config centre", what.name))),
    };
    Ok(Following {
        task: tokio::spawn(follower.run(revision)),
        connected,
    })
}

fn first_read_timeout(name: &str, limit: Duration) -> Error {
    Error::new(
        crate::ErrorKind::Timeout,
        format!("no answer for {name:?} within {limit:?}; check that the config centre is reachable"),
    )
    .at("config", "", "follow")
}
