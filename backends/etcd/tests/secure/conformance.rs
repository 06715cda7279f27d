//! The conformance suite as an ordinary user over TLS: two families that use everything that needs a permission.

use std::sync::Arc;

use infra_core::Result;
use infra_core::coordination::{ConfigCenter, Locks};
use infra_etcd::EtcdCoordinator;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::ground;

async fn etcd(setup: Setup) -> Result<Fixture<EtcdCoordinator>> {
    let config = ground::user(&setup.namespace)?;
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

conformance::config_centers!(center);
conformance::locks!(locks);
