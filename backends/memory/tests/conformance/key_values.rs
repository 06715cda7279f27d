//! CACHE on the cache of this process.

use std::sync::Arc;

use infra_core::Result;
use infra_core::cache::KeyValue;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::servers;

async fn cache(_setup: Setup) -> Result<Fixture<dyn KeyValue>> {
    Ok(servers::cache().map(|client| client as Arc<dyn KeyValue>))
}

conformance::key_values!(cache, every_mode);
