//! SCRIPT on the cache of this process.

use std::sync::Arc;

use infra_core::Result;
use infra_core::cache::Scripts;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::servers;

async fn cache(_setup: Setup) -> Result<Fixture<dyn Scripts>> {
    Ok(servers::cache().map(|client| client as Arc<dyn Scripts>))
}

conformance::scripts!(cache, every_mode);
