//! What every component has in common, whatever it is and whoever serves it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::capability::Capabilities;
use crate::error::Result;

/// The common part of every contract: identity, declared capabilities, health and shutdown.
///
/// Every component trait has this one as its supertrait, so that whoever holds an `Arc<dyn Locks>` can also ask what it
/// declares and whether it is well.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// The backend's name, as it appears in errors and metric labels: `"memory"`, `"redis"`, `"sqlite"`.
    fn backend(&self) -> &'static str;

    /// What this backend declares.
    fn capabilities(&self) -> &Capabilities;

    /// Asks the server, with one cheap round trip, whether it can work now.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) or whatever the server answered; [`Closed`](crate::ErrorKind::Closed) after shutdown.
    async fn health(&self) -> Result<()>;

    /// Stops accepting calls, finishes what was accepted, and closes the connection, within `deadline`.
    ///
    /// Calling it again does nothing and succeeds. Every other call made afterwards returns
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Errors
    /// [`Timeout`](crate::ErrorKind::Timeout) when accepted work was still unfinished at the deadline; the message says what.
    ///
    /// # Cancellation
    /// Dropping the future leaves the component closed to new calls, with the rest of the shutdown undone; call again.
    async fn shutdown(&self, deadline: Duration) -> Result<()>;
}

/// Asserts at compile time that a trait can be used as `dyn Trait`; it stands beside each contract.
#[macro_export]
macro_rules! assert_object_safe {
    ($($contract:path),+ $(,)?) => {
        $(const _: fn(&dyn $contract) = |_| {};)+
    };
}

assert_object_safe!(Backend);
