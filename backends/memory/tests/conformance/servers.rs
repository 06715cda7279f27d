//! The servers of this backend as the suite sees them: clients, disturbances, and what can be looked into.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_memory::{LockTable, MemoryCache, MemoryCoordinator, MemoryOnceStore};
use infra_testkit::conformance::{Disturbance, Fixture, Probe};

/// How long the invented owner of a stolen lock keeps it.
const STOLEN_FOR: Duration = Duration::from_secs(3600);

/// The clients of one server in the order in which the scenario connected them.
pub(crate) struct Clients<C>(Mutex<Vec<C>>);

impl<C: Clone> Clients<C> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    pub(crate) fn add(&self, client: &C) {
        self.lock().push(client.clone());
    }

    pub(crate) fn get(&self, number: usize) -> Option<C> {
        self.lock().get(number).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A coordinator, of which every contract can be put under test.
pub(crate) fn coordinator() -> Fixture<MemoryCoordinator> {
    let server = MemoryCoordinator::new();
    let clients = Clients::new();
    let (connecting, looking) = (server.clone(), server.clone());
    let connected = Arc::clone(&clients);
    Fixture::in_process(move || {
        let client = connecting.connect();
        connected.add(&client);
        async { Ok(Arc::new(client)) }
    })
    .on_disturbance(move |disturbance| {
        let done = disturb_coordinator(&server, &clients, disturbance);
        async move { Ok(done) }
    })
    .on_probe(move |probe| match probe {
        Probe::Watches => {
            let (registry, configuration) = looking.faults().open_watches();
            u64::try_from(registry + configuration).ok()
        }
        other => look_at_locks(looking.lock_table(), other),
    })
}

fn disturb_coordinator(
    server: &MemoryCoordinator,
    clients: &Clients<MemoryCoordinator>,
    disturbance: Disturbance,
) -> bool {
    let faults = server.faults();
    let one = |number| clients.get(number);
    match disturbance {
        Disturbance::GoAway => faults.go_away(),
        Disturbance::ComeBack => faults.come_back(),
        Disturbance::LoseSessions => faults.lose_sessions(),
        Disturbance::LoseHistory => faults.forget_history(),
        Disturbance::CloseWatches { error } => faults.close_watches(&error),
        Disturbance::Disconnect { client } | Disturbance::Crash { client } => {
            return one(client).map(|client| client.faults().disconnect()).is_some();
        }
        Disturbance::Reconnect { client } => {
            return one(client).map(|client| client.faults().reconnect()).is_some();
        }
        Disturbance::ExpireInstance { service, id } => return faults.expire_instance(&service, &id),
        Disturbance::RevokeInstanceId { service, number } => {
            return faults.revoke_instance_id(&service, number);
        }
        other => return disturb_locks(server.lock_table(), &other),
    }
    true
}

/// A cache, of which every contract can be put under test.
pub(crate) fn cache() -> Fixture<MemoryCache> {
    let server = MemoryCache::new();
    let clients = Clients::new();
    let (connecting, looking) = (server.clone(), server.clone());
    let (connected, scoping, scoped) = (Arc::clone(&clients), server.clone(), Arc::clone(&clients));
    Fixture::in_process(move || {
        let client = connecting.connect();
        connected.add(&client);
        async { Ok(Arc::new(client)) }
    })
    .on_scope(move |scopes| {
        let client = scopes
            .iter()
            .fold(scoping.connect(), |client, scope| client.scoped(scope));
        scoped.add(&client);
        async { Ok(Arc::new(client)) }
    })
    .on_disturbance(move |disturbance| {
        let (server, clients) = (server.clone(), Arc::clone(&clients));
        async move {
            if let Disturbance::StoreText { key } = &disturbance {
                server.set(key, "text".into(), Ttl::Never).await?;
                return Ok(true);
            }
            Ok(disturb_cache(&server, &clients, disturbance))
        }
    })
    .on_probe(move |probe| look_at_locks(looking.lock_table(), probe))
}

fn disturb_cache(server: &MemoryCache, clients: &Clients<MemoryCache>, disturbance: Disturbance) -> bool {
    let faults = server.faults();
    let one = |number| clients.get(number);
    match disturbance {
        Disturbance::GoAway => faults.go_away(),
        Disturbance::ComeBack => faults.come_back(),
        Disturbance::LoseSessions => server.lock_table().expire_all(),
        Disturbance::Disconnect { client } | Disturbance::Crash { client } => {
            return one(client).map(|client| client.faults().disconnect()).is_some();
        }
        Disturbance::Reconnect { client } => {
            return one(client).map(|client| client.faults().reconnect()).is_some();
        }
        other => return disturb_locks(server.lock_table(), &other),
    }
    true
}

/// A store of idempotent operations.
pub(crate) fn once_store() -> Fixture<MemoryOnceStore> {
    let server = MemoryOnceStore::new();
    let clients = Clients::new();
    let (connecting, connected) = (server.clone(), Arc::clone(&clients));
    Fixture::in_process(move || {
        let client = connecting.connect();
        connected.add(&client);
        async { Ok(Arc::new(client)) }
    })
    .on_disturbance(move |disturbance| {
        let done = disturb_once_store(&server, &clients, &disturbance);
        async move { Ok(done) }
    })
}

fn disturb_once_store(
    server: &MemoryOnceStore,
    clients: &Clients<MemoryOnceStore>,
    disturbance: &Disturbance,
) -> bool {
    let one = |number: &usize| clients.get(*number);
    match disturbance {
        Disturbance::GoAway => server.go_away(),
        Disturbance::ComeBack => server.come_back(),
        Disturbance::Disconnect { client } | Disturbance::Crash { client } => {
            return one(client).map(|client| client.disconnect()).is_some();
        }
        Disturbance::Reconnect { client } => return one(client).map(|client| client.reconnect()).is_some(),
        _ => return false,
    }
    true
}

fn disturb_locks(table: &LockTable, disturbance: &Disturbance) -> bool {
    match disturbance {
        Disturbance::StealLock { key } => table.steal(key, STOLEN_FOR).0 > 0,
        Disturbance::ExpireLock { key } => table.expire(key),
        _ => false,
    }
}

fn look_at_locks(table: &LockTable, probe: Probe) -> Option<u64> {
    match probe {
        Probe::LockQueue { key } => {
            let queue = table.waiting(&key) + usize::from(table.is_held(&key));
            u64::try_from(queue).ok()
        }
        _ => None,
    }
}
