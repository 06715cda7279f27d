//! HASH on the cache of this process.

use std::sync::Arc;

use infra_core::Result;
use infra_core::cache::Hashes;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::servers;

async fn cache(_setup: Setup) -> Result<Fixture<dyn Hashes>> {
    Ok(servers::cache().map(|client| client as Arc<dyn Hashes>))
}

conformance::hashes!(cache, every_mode);
