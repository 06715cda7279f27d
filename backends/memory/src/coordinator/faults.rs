//! What tests do to an in-process coordinator: partitions, lost sessions, lost history.

use super::MemoryCoordinator;

/// Breaks an in-process coordinator on command, as networks and servers break real ones.
///
/// Faults of the *server* concern every client; faults of the *connection* only the client that they were asked of.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use infra_core::Backend;
/// use infra_memory::MemoryCoordinator;
///
/// let coordinator = MemoryCoordinator::new();
/// coordinator.faults().go_away();
/// assert!(coordinator.health().await.is_err());
/// coordinator.faults().come_back();
/// assert!(coordinator.health().await.is_ok());
/// # });
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CoordinatorFaults<'a> {
    coordinator: &'a MemoryCoordinator,
}

impl MemoryCoordinator {
    /// What tests can break.
    #[must_use]
    pub fn faults(&self) -> CoordinatorFaults<'_> {
        CoordinatorFaults { coordinator: self }
    }
}

impl CoordinatorFaults<'_> {
    /// Makes the server unreachable for every client: calls and renewals fail with
    /// [`Unavailable`](infra_core::ErrorKind::Unavailable), and leases end by their time to live.
    pub fn go_away(&self) {
        self.coordinator.client.server.switch.turn_off();
    }

    /// Makes the server reachable again.
    pub fn come_back(&self) {
        self.coordinator.client.server.switch.turn_on();
    }

    /// Cuts this client off: what it holds ends by its time to live, as after a crash of its process.
    pub fn disconnect(&self) {
        self.coordinator.client.link.cut();
    }

    /// Connects this client again.
    pub fn reconnect(&self) {
        self.coordinator.client.link.mend();
    }
}
