//! The conformance suite on a real Consul, a proxy before each client: directly, and what is quick behind the standard stack too.

mod foreign;
mod server;

use std::sync::Arc;

use infra_core::Result;
use infra_core::config::BackendUrl;
use infra_core::coordination::{ConfigCenter, InstanceIds, Locks, Registry};
use infra_testkit::conformance::backends::{Component, Opening};
use infra_testkit::conformance::{self, Fixture, Setup};
use infra_testkit::servers;

async fn opening(_setup: Setup) -> Result<Fixture<Opening>> {
    let url = BackendUrl::parse(&servers::url("consul")?)?;
    let opening = Arc::new(Opening::new(
        Component::Coordination,
        infra_consul::register,
        url,
        "watch_buffer",
    ));
    Ok(Fixture::server(move || {
        let opening = Arc::clone(&opening);
        async { Ok(opening) }
    }))
}

async fn center(setup: Setup) -> Result<Fixture<dyn ConfigCenter>> {
    Ok(server::fixture(&setup)?.map(|client| client as Arc<dyn ConfigCenter>))
}

async fn locks(setup: Setup) -> Result<Fixture<dyn Locks>> {
    Ok(server::fixture(&setup)?.map(|client| client as Arc<dyn Locks>))
}

async fn ids(setup: Setup) -> Result<Fixture<dyn InstanceIds>> {
    Ok(server::fixture(&setup)?.map(|client| client as Arc<dyn InstanceIds>))
}

async fn registry(setup: Setup) -> Result<Fixture<dyn Registry>> {
    Ok(server::fixture(&setup)?.map(|client| client as Arc<dyn Registry>))
}

/// Named so that `cargo xtask test` plays many of these at once: most of their time they wait for a session to end.
mod on_the_server {
    use super::*;

    conformance::backends!(opening);
    conformance::config_centers!(center, bare_and_standard_stack);
    // Behind a stack a breaker may stay open for a minute after an outage, which is longer than a scenario in real time may take.
    conformance::watches!(center);
    conformance::locks!(locks);
    conformance::elections!(locks);
    conformance::instance_ids!(ids);
    conformance::registries!(registry);
}
