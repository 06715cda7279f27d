//! The conformance suite of configuration with an ordinary token over TLS.

use std::sync::Arc;

use infra_consul::ConsulCoordinator;
use infra_core::Result;
use infra_core::coordination::ConfigCenter;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::ground;

async fn center(setup: Setup) -> Result<Fixture<dyn ConfigCenter>> {
    let config = ground::user(&setup.namespace)?;
    let consul = Fixture::server(move || {
        let config = config.clone();
        async move { ConsulCoordinator::connect(config).await.map(Arc::new) }
    });
    Ok(consul.map(|client| client as Arc<dyn ConfigCenter>))
}

conformance::config_centers!(center);
