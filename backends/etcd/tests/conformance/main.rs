//! The conformance suite on a real etcd: directly and behind the standard stack.

use std::sync::Arc;
use std::time::Duration;

use infra_core::Result;
use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_core::coordination::{ConfigCenter, InstanceIds, Locks, Registry};
use infra_etcd::{EtcdConfig, EtcdCoordinator};
use infra_testkit::conformance::{self, Fixture, Setup};
use infra_testkit::servers;

fn config(namespace: &str) -> Result<EtcdConfig> {
    let mut config = EtcdConfig::development();
    let url = servers::require("etcd").unwrap_or_default();
    config.take_url(&BackendUrl::parse(&url)?)?;
    Ok(config
        .with_key_prefix(format!("{namespace}/"))
        .with_instance_ids(Duration::from_secs(2), Duration::from_secs(2)))
}

async fn etcd(setup: Setup) -> Result<Fixture<EtcdCoordinator>> {
    let config = config(&setup.namespace)?;
    Ok(Fixture::server(move || {
        let config = config.clone();
        async move { EtcdCoordinator::connect(config).await.map(Arc::new) }
    }))
}

async fn center(setup: Setup) -> Result<Fixture<dyn ConfigCenter>> {
    Ok(etcd(setup).await?.map(|client| client as Arc<dyn ConfigCenter>))
}

async fn locks(setup: Setup) -> Result<Fixture<dyn Locks>> {
    Ok(etcd(setup).await?.map(|client| client as Arc<dyn Locks>))
}

async fn ids(setup: Setup) -> Result<Fixture<dyn InstanceIds>> {
    Ok(etcd(setup).await?.map(|client| client as Arc<dyn InstanceIds>))
}

async fn registry(setup: Setup) -> Result<Fixture<dyn Registry>> {
    Ok(etcd(setup).await?.map(|client| client as Arc<dyn Registry>))
}

conformance::config_centers!(center);
conformance::watches!(center);
conformance::locks!(locks);
conformance::instance_ids!(ids);
conformance::registries!(registry);
