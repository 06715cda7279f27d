//! ZSET on the cache of this process.

use std::sync::Arc;

use infra_core::Result;
use infra_core::cache::SortedSets;
use infra_testkit::conformance::{self, Fixture, Setup};

use crate::servers;

async fn cache(_setup: Setup) -> Result<Fixture<dyn SortedSets>> {
    Ok(servers::cache().map(|client| client as Arc<dyn SortedSets>))
}

conformance::sorted_sets!(cache, every_mode);
