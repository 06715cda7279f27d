//! BLOOM on the cache of this process.

use std::sync::Arc;

use infra_core::Result;
use infra_core::cache::Bloom;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::servers;

async fn cache(_setup: Setup) -> Result<Fixture<dyn Bloom>> {
    Ok(servers::cache().map(|client| client as Arc<dyn Bloom>))
}

conformance::bloom!(cache, every_mode);
