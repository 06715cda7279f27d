//! A coordinator that keeps the contract: what the broken ones wrap, one defect each.

use std::sync::{Arc, Mutex};

use infra_memory::MemoryCoordinator;
use infra_testkit::conformance::{Disturbance, Fixture, Probe};

use crate::support::locked;

/// One server, its clients in the order in which they connected, and what can be done to them.
pub(crate) fn fixture(server: MemoryCoordinator) -> Fixture<MemoryCoordinator> {
    let clients: Arc<Mutex<Vec<MemoryCoordinator>>> = Arc::default();
    let (connecting, connected, looking) = (server.clone(), Arc::clone(&clients), server.clone());
    Fixture::in_process(move || {
        let client = connecting.connect();
        locked(&connected).push(client.clone());
        async { Ok(Arc::new(client)) }
    })
    .on_disturbance(move |disturbance| {
        let clients = locked(&clients).clone();
        let done = disturb(&server, &clients, disturbance);
        async move { Ok(done) }
    })
    .on_probe(move |probe| {
        let (registry, configuration) = looking.faults().open_watches();
        (probe == Probe::Watches).then_some((registry + configuration) as u64)
    })
}

fn disturb(server: &MemoryCoordinator, clients: &[MemoryCoordinator], disturbance: Disturbance) -> bool {
    let faults = server.faults();
    match disturbance {
        Disturbance::GoAway => faults.go_away(),
        Disturbance::ComeBack => faults.come_back(),
        Disturbance::LoseSessions => faults.lose_sessions(),
        Disturbance::LoseHistory => faults.forget_history(),
        Disturbance::CloseWatches { error } => faults.close_watches(&error),
        Disturbance::Disconnect { client } | Disturbance::Crash { client } => {
            clients[client].faults().disconnect();
        }
        Disturbance::Reconnect { client } => clients[client].faults().reconnect(),
        Disturbance::ExpireInstance { service, id } => return faults.expire_instance(&service, &id),
        _ => return false,
    }
    true
}
