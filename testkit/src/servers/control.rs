//! Faults of real servers, from a test.

use super::problem::{Problem, Result};
use super::set::Set;

/// Handles one server, or one node of it (`etcd-cluster/2`), of the set that `INFRA_SERVERS_DIR` names, else of the user's own.
///
/// The set must have been started by this command (not by hand): see [`Set`]. Servers are shared by all tests that run at the same
/// time, so a test that disturbs one says so, or has a set of its own.
///
/// ```no_run
/// # async fn example() -> Result<(), infra_testkit::servers::Problem> {
/// let redis = infra_testkit::servers::control("redis");
/// redis.pause().await?;
/// // … what does the code do whose cache has gone silent?
/// redis.resume().await?;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn control(name: &str) -> Control {
    Set::here().control(name)
}

/// One server under the control of a test. Dropping a future does not undo what it began: the operation goes on in the background.
#[derive(Debug, Clone)]
pub struct Control {
    set: Set,
    target: String,
}

impl Set {
    /// Handles one server of this set, or one node of it.
    #[must_use]
    pub fn control(&self, name: &str) -> Control {
        Control {
            set: self.clone(),
            target: name.to_owned(),
        }
    }
}

impl Control {
    /// See [`Set::restart`].
    ///
    /// # Errors
    /// It was not started, or it does not answer again.
    pub async fn restart(&self) -> Result<()> {
        self.act(Set::restart).await
    }

    /// See [`Set::pause`].
    ///
    /// # Errors
    /// It was not started, or is dead.
    pub async fn pause(&self) -> Result<()> {
        self.act(Set::pause).await
    }

    /// See [`Set::resume`].
    ///
    /// # Errors
    /// It was not started, or is dead.
    pub async fn resume(&self) -> Result<()> {
        self.act(Set::resume).await
    }

    /// See [`Set::kill`].
    ///
    /// # Errors
    /// It was not started.
    pub async fn kill(&self) -> Result<()> {
        self.act(Set::kill).await
    }

    /// See [`Set::start`].
    ///
    /// # Errors
    /// It was never started, or it does not answer again.
    pub async fn start(&self) -> Result<()> {
        self.act(Set::start).await
    }

    /// See [`Set::reset`].
    ///
    /// # Errors
    /// It was never started, one node alone is named, or it does not answer again.
    pub async fn reset(&self) -> Result<()> {
        self.act(Set::reset).await
    }

    async fn act(&self, act: fn(&Set, &str) -> Result<()>) -> Result<()> {
        let Self { set, target } = self.clone();
        let done = tokio::task::spawn_blocking(move || act(&set, &target)).await;
        done.unwrap_or_else(|error| {
            Err(Problem::new(format!(
                "the control of {} panicked: {error}",
                self.target
            )))
        })
    }
}
