//! What servers do to their clients between two calls: connections, watches, leases and sessions are lost.

use std::sync::Arc;
use std::time::Duration;

use infra_core::coordination::FencingToken;
use infra_core::intercept::Faults;
use infra_memory::{MemoryCoordinator, MemoryQueue};

use super::TestInfra;

/// Breaks what a component's connection carries, behind the back of the calls; see [`TestInfra::server_faults`].
///
/// [`Faults`] say what happens to calls; this says what happens between them. A lost connection can be scripted as well:
/// [`Fault::Disconnect`](infra_core::intercept::Fault::Disconnect) for a call of the component does the same and fails the call.
///
/// | component of the call | what it loses | the same by hand |
/// |---|---|---|
/// | `locks` | every lock | [`lose_locks`](Self::lose_locks) |
/// | `registry` | every registration; watches are reset | [`lose_instances`](Self::lose_instances), [`reset_watches`](Self::reset_watches) |
/// | `config_center` | watches are reset | [`reset_watches`](Self::reset_watches) |
/// | `instance_ids` | every instance id | [`lose_instance_ids`](Self::lose_instance_ids) |
/// | `consumer` | every member's place in its group | [`lose_consumers`](Self::lose_consumers) |
#[derive(Debug, Clone, Copy)]
pub struct ServerFaults<'a> {
    coordinator: &'a MemoryCoordinator,
    queue: &'a MemoryQueue,
}

impl TestInfra {
    /// What the servers behind the set do to their clients.
    #[must_use]
    pub fn server_faults(&self) -> ServerFaults<'_> {
        ServerFaults {
            coordinator: &self.coordinator,
            queue: &self.queue,
        }
    }
}

impl ServerFaults<'_> {
    /// Makes the coordinator and the broker unreachable: calls fail with
    /// [`Unavailable`](infra_core::ErrorKind::Unavailable), leases end by their time, nothing is delivered. For the others,
    /// script their calls: `infra.faults().always("cache.*", …)`.
    pub fn go_away(&self) {
        self.coordinator.faults().go_away();
        self.queue.faults().disconnect();
    }

    /// Makes them reachable again.
    pub fn come_back(&self) {
        self.coordinator.faults().come_back();
        self.queue.faults().reconnect();
    }

    /// Gives every watch of the registry and of the configuration centre a
    /// [`Reset`](infra_core::watch::WatchEvent::Reset), as a lost connection does.
    pub fn reset_watches(&self) {
        self.coordinator.faults().forget_history();
    }

    /// Ends the lease of every lock; holders notice at their next renewal.
    pub fn lose_locks(&self) {
        self.coordinator.faults().lose_locks();
    }

    /// Ends the lease of one lock; whether somebody held it.
    pub fn lose_lock(&self, key: &str) -> bool {
        self.coordinator.lock_table().expire(key)
    }

    /// Gives a lock to an invented owner for `ttl`; returns the token under which that one would work.
    pub fn steal_lock(&self, key: &str, ttl: Duration) -> FencingToken {
        self.coordinator.lock_table().steal(key, ttl)
    }

    /// Ends every registration; they register themselves again.
    pub fn lose_instances(&self) {
        self.coordinator.faults().lose_instances();
    }

    /// Ends one registration; whether it was there.
    pub fn lose_instance(&self, service: &str, id: &str) -> bool {
        self.coordinator.faults().expire_instance(service, id)
    }

    /// Ends the lease of every instance id that was taken from the set's coordinator.
    pub fn lose_instance_ids(&self) {
        self.coordinator.faults().lose_instance_ids();
    }

    /// Ends the lease of one instance id; whether it was taken.
    pub fn lose_instance_id(&self, service: &str, number: u16) -> bool {
        self.coordinator.faults().revoke_instance_id(service, number)
    }

    /// Puts every consumer out of its group: what they hold is delivered again while their handlers may still run, and they
    /// join again. Returns how many there were.
    pub fn lose_consumers(&self) -> usize {
        self.queue.faults().lose_sessions()
    }

    /// Delivers each of the next `deliveries` once more after it was settled.
    pub fn duplicate_deliveries(&self, deliveries: usize) {
        self.queue.faults().duplicate_next(deliveries);
    }

    /// Delivers the two messages of each of the next `pairs` pairs the other way round, also those of one key; a pair is two
    /// messages that one member takes at once.
    pub fn reorder_deliveries(&self, pairs: usize) {
        self.queue.faults().reorder_next(pairs);
    }
}

/// Says what `Fault::Disconnect` loses for each component.
pub(super) fn connect(faults: &Faults, coordinator: &MemoryCoordinator, queue: &Arc<MemoryQueue>) {
    let on = |component: &str, lose: fn(&MemoryCoordinator)| {
        let coordinator = coordinator.clone();
        faults.on_disconnect(component, move || lose(&coordinator));
    };
    on("locks", |coordinator| coordinator.faults().lose_locks());
    on("registry", |coordinator| {
        coordinator.faults().lose_instances();
        coordinator.faults().reset_registry_watches();
    });
    on("config_center", |coordinator| {
        coordinator.faults().reset_config_watches();
    });
    on("instance_ids", |coordinator| {
        coordinator.faults().lose_instance_ids();
    });
    let queue = Arc::clone(queue);
    faults.on_disconnect("consumer", move || {
        queue.faults().lose_sessions();
    });
}
