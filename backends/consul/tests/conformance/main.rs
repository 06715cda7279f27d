//! The conformance suite on a real Consul: directly and behind the standard stack.

use std::sync::Arc;
use std::time::Duration;

use infra_consul::{ConsulConfig, ConsulCoordinator};
use infra_core::Result;
use infra_core::assembly::BackendOptions;
use infra_core::config::BackendUrl;
use infra_core::coordination::ConfigCenter;
use infra_testkit::conformance::{self, Fixture, Setup};
use infra_testkit::servers;

fn config(namespace: &str) -> Result<ConsulConfig> {
    let url = BackendUrl::parse(&servers::url("consul")?)?;
    let mut config = ConsulConfig::development();
    config.take_url(&url)?;
    Ok(config
        .with_key_prefix(format!("{namespace}/"))
        .with_watches(Duration::from_secs(10), 64)
        .with_instance_ids(Duration::from_secs(10), Duration::from_secs(10)))
}

async fn consul(setup: Setup) -> Result<Fixture<ConsulCoordinator>> {
    let config = config(&setup.namespace)?;
    Ok(Fixture::server(move || {
        let config = config.clone();
        async move { ConsulCoordinator::connect(config).await.map(Arc::new) }
    }))
}

async fn center(setup: Setup) -> Result<Fixture<dyn ConfigCenter>> {
    Ok(consul(setup).await?.map(|client| client as Arc<dyn ConfigCenter>))
}

conformance::config_centers!(center, bare_and_standard_stack);
conformance::watches!(center, bare_and_standard_stack);
