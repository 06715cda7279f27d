//! SEARCH on an engine in memory.

use std::sync::Arc;

use infra_core::Result;
use infra_core::search::Search;
use infra_tantivy::{TantivyConfig, TantivySearch};
use infra_testkit::conformance::{self, Fixture, Setup};

/// An engine in memory: clients of one run are one engine, which lives in one process.
async fn tantivy(_setup: Setup) -> Result<Fixture<dyn Search>> {
    let engine: Arc<dyn Search> = Arc::new(TantivySearch::open(TantivyConfig::development()).await?);
    Ok(Fixture::server(move || {
        let engine = Arc::clone(&engine);
        async { Ok(engine) }
    }))
}

conformance::searches!(tantivy, every_mode);
