//! The toy backend of the page "Add a backend" keeps the contract, and opens by its URL.

#[allow(unreachable_pub, reason = "it is written as the crate that it would be")]
mod toy;

use std::sync::Arc;

use infra_core::assembly::{Backends, OpenContext, Section};
use infra_core::config::{BackendUrl, Profile};
use infra_core::rate_limit::{Quota, RateLimitStore, Take};
use infra_core::{ErrorKind, Result};
use infra_memory::MemoryMeter;
use infra_testkit::conformance::backends::{Component, Opening};
use infra_testkit::conformance::{self, Fixture, Setup};

use toy::{Server, ToyBuckets, ToyOptions};

/// One fresh server for each run of a scenario, and a client whenever the scenario plays one more process.
async fn make_backend(_setup: Setup) -> Result<Fixture<dyn RateLimitStore>> {
    let server = Server::start();
    Ok(Fixture::in_process(move || {
        let client = ToyBuckets::connect(server.clone(), &ToyOptions::default());
        async move { Ok(Arc::new(client) as Arc<dyn RateLimitStore>) }
    }))
}

conformance::rate_limits!(make_backend, every_mode);

/// How a program opens it.
async fn make_opening(_setup: Setup) -> Result<Fixture<Opening>> {
    let url = BackendUrl::parse("toy://")?;
    let opening = Arc::new(Opening::new(
        Component::RateLimit,
        toy::register,
        url,
        "max_key_bytes",
    ));
    Ok(Fixture::in_process(move || {
        let opening = Arc::clone(&opening);
        async { Ok(opening) }
    }))
}

conformance::backends!(make_opening);

async fn open(section: Section) -> Result<Arc<dyn RateLimitStore>> {
    let mut backends = Backends::new();
    toy::register(&mut backends);
    let context = OpenContext::new(Profile::Development, Arc::new(MemoryMeter::new()));
    backends.open_rate_limit_store(&section, &context).await
}

fn section(url: &str) -> Result<Section> {
    Ok(Section::new(BackendUrl::parse(url)?))
}

#[tokio::test]
async fn it_opens_by_its_url_and_options() -> Result<()> {
    let store = open(section("toy://")?.with_option("max_key_bytes", 3)).await?;
    store.health().await?;
    let quota = Quota::new(1.0, 1)?;
    assert!(store.take(&[Take::new("abc", quota, 1)]).await?[0].allowed);
    let refused = store.take(&[Take::new("abcd", quota, 1)]).await;
    assert_eq!(refused.expect_err("too long").kind(), ErrorKind::InvalidArgument);
    Ok(())
}

#[tokio::test]
async fn what_cannot_work_is_refused() -> Result<()> {
    for wrong in [
        section("toy://somewhere")?,
        section("toy://")?.with_option("max_key_bytes", 0),
    ] {
        let refused = open(wrong.clone()).await;
        assert_eq!(
            refused.expect_err("a mistake").kind(),
            ErrorKind::InvalidConfig,
            "{wrong:?}"
        );
    }
    Ok(())
}
