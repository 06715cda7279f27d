//! SET on the cache of this process.

use std::sync::Arc;

use infra_core::Result;
use infra_core::cache::Sets;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::servers;

async fn cache(_setup: Setup) -> Result<Fixture<dyn Sets>> {
    Ok(servers::cache().map(|client| client as Arc<dyn Sets>))
}

conformance::sets!(cache, every_mode);
