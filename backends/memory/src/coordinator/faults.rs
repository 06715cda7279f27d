//! What tests do to an in-process coordinator: partitions, lost sessions, lost history.

use infra_core::Error;

use super::{MemoryCoordinator, Server, locked};

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
        self.server().switch.turn_off();
    }

    /// Makes the server reachable again.
    pub fn come_back(&self) {
        self.server().switch.turn_on();
    }

    /// Ends every lease at once, as a server does that lost its sessions: locks go to the next waiter, instances
    /// disappear until they register themselves again, instance ids are revoked. Configuration stays.
    pub fn lose_sessions(&self) {
        self.lose_locks();
        self.lose_instances();
        self.lose_instance_ids();
    }

    /// Ends every lock's lease: each goes to its next waiter, and the holder notices at its next renewal.
    pub fn lose_locks(&self) {
        self.server().locks.expire_all();
    }

    /// Ends every registration's lease; they register themselves again.
    pub fn lose_instances(&self) {
        locked(&self.server().registrations).remove_clients(|_| true);
    }

    /// Ends every instance id's lease; the holders notice at their next renewal.
    pub fn lose_instance_ids(&self) {
        locked(&self.server().numbers).revoke_all();
    }

    /// Forgets the history of changes: open watches get [`Reset`](infra_core::watch::WatchEvent::Reset), and so does one
    /// that asks to start from an earlier revision.
    pub fn forget_history(&self) {
        self.reset_registry_watches();
        self.reset_config_watches();
    }

    /// Does what [`CoordinatorFaults::forget_history`] does to the registry alone.
    pub fn reset_registry_watches(&self) {
        locked(&self.server().registrations).feed.forget();
    }

    /// Does what [`CoordinatorFaults::forget_history`] does to the configuration alone.
    pub fn reset_config_watches(&self) {
        locked(&self.server().configuration).feed.forget();
    }

    /// Ends every open watch with this error, as a server does that takes a permission away. New ones can be opened.
    pub fn close_watches(&self, error: &Error) {
        locked(&self.server().registrations).feed.close_all(error);
        locked(&self.server().configuration).feed.close_all(error);
    }

    /// Removes an instance behind its registration's back; it registers itself again. Whether it was there.
    pub fn expire_instance(&self, service: &str, id: &str) -> bool {
        locked(&self.server().registrations).remove(service, id, None)
    }

    /// Ends the lease of an instance id; its holder notices at the next renewal. Whether it was leased.
    pub fn revoke_instance_id(&self, service: &str, number: u16) -> bool {
        locked(&self.server().numbers).revoke(service, number)
    }

    /// How many watches are open, over all clients: of the registry, and of the configuration.
    #[must_use]
    pub fn open_watches(&self) -> (usize, usize) {
        let server = self.server();
        let registry = locked(&server.registrations).feed.watches();
        (registry, locked(&server.configuration).feed.watches())
    }

    fn server(&self) -> &Server {
        &self.coordinator.client.server
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
