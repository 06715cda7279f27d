//! Clients of a real etcd, each behind proxies of its own, in a place of their own.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use infra_core::Result;
use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Host};
use infra_etcd::{EtcdConfig, EtcdCoordinator};
use infra_testkit::conformance::{Disturbance, Fixture, Proxies, Setup};
use infra_testkit::servers;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::native::Native;

/// The options with which a scenario's clients connect.
fn config(setup: &Setup, server: &'static str) -> Result<EtcdConfig> {
    let mut config = EtcdConfig::development();
    config.take_url(&BackendUrl::parse(&servers::url(server)?)?)?;
    Ok(config
        .with_key_prefix(format!("{}/", setup.namespace))
        .with_instance_ids(Duration::from_secs(2), Duration::from_secs(2)))
}

/// What compacts the history of a server, compacts it for every scenario that is played on it.
const COMPACTS: [&str; 5] = [
    "REGISTRY-029",
    "REGISTRY-030",
    "WATCH-006",
    "WATCH-016",
    "WATCH-018",
];

/// Held by each scenario while it is played; alone by one that compacts.
static HISTORY: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// A hold on the history, until it is dropped.
enum Hold {
    Shared(#[allow(dead_code, reason = "held")] OwnedRwLockReadGuard<()>),
    Alone(#[allow(dead_code, reason = "held")] OwnedRwLockWriteGuard<()>),
}

async fn hold(setup: &Setup) -> Hold {
    if COMPACTS.contains(&setup.scenario.as_str()) {
        Hold::Alone(Arc::clone(&HISTORY).write_owned().await)
    } else {
        Hold::Shared(Arc::clone(&HISTORY).read_owned().await)
    }
}

/// Clients of this server of the set.
async fn etcd(setup: Setup, server: &'static str) -> Result<Fixture<EtcdCoordinator>> {
    let config = config(&setup, server)?;
    let hold = hold(&setup).await;
    let native = Native::connect(&config).await?;
    let nodes: Vec<Proxies> = config.endpoints.iter().map(Proxies::to).collect();
    let clients = nodes.clone();
    let connect = move || {
        let addresses: Result<Vec<_>> = clients.iter().map(Proxies::connect).collect();
        let config = config.clone();
        async move {
            let hosts = addresses?
                .into_iter()
                .map(|address| Host::new(address.ip().to_string(), Some(address.port())));
            EtcdCoordinator::connect(config.with_endpoints(hosts))
                .await
                .map(Arc::new)
        }
    };
    let fixture = Fixture::server(connect).on_disturbance(move |disturbance| {
        let (nodes, native) = (nodes.clone(), native.clone());
        async move { disturb(&nodes, &native, disturbance).await }
    });
    Ok(fixture.on_teardown(|| async {
        drop(hold);
        Ok(())
    }))
}

async fn disturb(nodes: &[Proxies], native: &Native, disturbance: Disturbance) -> Result<bool> {
    if matches!(disturbance, Disturbance::LoseHistory) {
        // Whoever is connected hears everything: history is lost by those who are away when it is cut off.
        set_away(nodes, Disturbance::GoAway)?;
        native.compact().await?;
        set_away(nodes, Disturbance::ComeBack)?;
        return Ok(true);
    }
    Ok(set_away(nodes, disturbance.clone())? || native.disturb(disturbance).await?)
}

fn set_away(nodes: &[Proxies], disturbance: Disturbance) -> Result<bool> {
    let mut done = false;
    for node in nodes {
        done = node.disturb(&disturbance)?;
    }
    Ok(done)
}

/// The constructors for one server of the set.
macro_rules! constructors {
    ($name:ident, $server:literal) => {
        pub(crate) mod $name {
            use std::sync::Arc;

            use infra_core::Result;
            use infra_core::coordination::{ConfigCenter, InstanceIds, Locks, Registry};
            use infra_testkit::conformance::{Fixture, Setup};

            pub(crate) async fn center(setup: Setup) -> Result<Fixture<dyn ConfigCenter>> {
                let etcd = super::etcd(setup, $server).await?;
                Ok(etcd.map(|client| client as Arc<dyn ConfigCenter>))
            }

            pub(crate) async fn locks(setup: Setup) -> Result<Fixture<dyn Locks>> {
                let etcd = super::etcd(setup, $server).await?;
                Ok(etcd.map(|client| client as Arc<dyn Locks>))
            }

            pub(crate) async fn ids(setup: Setup) -> Result<Fixture<dyn InstanceIds>> {
                let etcd = super::etcd(setup, $server).await?;
                Ok(etcd.map(|client| client as Arc<dyn InstanceIds>))
            }

            pub(crate) async fn registry(setup: Setup) -> Result<Fixture<dyn Registry>> {
                let etcd = super::etcd(setup, $server).await?;
                Ok(etcd.map(|client| client as Arc<dyn Registry>))
            }
        }
    };
}

constructors!(single, "etcd");
constructors!(cluster, "etcd-cluster");
