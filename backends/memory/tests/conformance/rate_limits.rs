//! LIMIT on the buckets of this process, which are what `memory://` gives for rate limits.

use std::sync::Arc;

use infra_core::Result;
use infra_core::rate_limit::{LocalBuckets, RateLimitStore};
use infra_testkit::conformance::{self, Fixture, Setup};

async fn local(_setup: Setup) -> Result<Fixture<dyn RateLimitStore>> {
    let buckets: Arc<dyn RateLimitStore> = Arc::new(LocalBuckets::new(10_000));
    Ok(Fixture::in_process(move || {
        let client = Arc::clone(&buckets);
        async { Ok(client) }
    }))
}

conformance::rate_limits!(local, every_mode);
