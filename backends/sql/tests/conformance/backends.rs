//! META on what `sqlite://` opens.

use std::sync::Arc;

use infra_core::Result;
use infra_core::config::BackendUrl;
use infra_testkit::conformance::backends::{Component, Opening};
use infra_testkit::conformance::{Fixture, Setup};

async fn sqlite(_setup: Setup) -> Result<Fixture<Opening>> {
    let url = BackendUrl::file("sqlite", ":memory:");
    let opening = Opening::new(Component::Database, infra_sql::register, url, "max_connections");
    let opening = Arc::new(opening);
    Ok(Fixture::server(move || {
        let opening = Arc::clone(&opening);
        async { Ok(opening) }
    }))
}

infra_testkit::conformance::backends!(sqlite);
