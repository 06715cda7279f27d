//! META on what `tantivy://` opens.

use std::sync::Arc;

use infra_core::Result;
use infra_core::config::BackendUrl;
use infra_testkit::conformance::backends::{Component, Opening};
use infra_testkit::conformance::{Fixture, Setup};

async fn tantivy(_setup: Setup) -> Result<Fixture<Opening>> {
    let url = BackendUrl::file("tantivy", ":memory:");
    let opening = Opening::new(Component::Search, infra_tantivy::register, url, "writer_threads");
    let opening = Arc::new(opening);
    Ok(Fixture::server(move || {
        let opening = Arc::clone(&opening);
        async { Ok(opening) }
    }))
}

infra_testkit::conformance::backends!(tantivy);
