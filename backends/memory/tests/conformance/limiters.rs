//! LIMITER over the buckets of this process, which are what `memory://` gives for rate limits.

use std::sync::Arc;

use infra_core::Result;
use infra_core::rate_limit::{LocalBuckets, RateLimitStore};
use infra_testkit::conformance::limiters::{CoreLimiters, MakesLimiters};
use infra_testkit::conformance::{Fixture, Setup};

async fn limiters(_setup: Setup) -> Result<Fixture<dyn MakesLimiters>> {
    let buckets: Arc<dyn RateLimitStore> = Arc::new(LocalBuckets::new(10_000));
    Ok(Fixture::in_process(move || {
        let client = Arc::new(CoreLimiters::new(Arc::clone(&buckets)));
        async { Ok(client as Arc<dyn MakesLimiters>) }
    }))
}

infra_testkit::conformance::limiters!(limiters, every_mode);
