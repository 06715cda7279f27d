//! Assembly: what opens, in which order, and what happens when something cannot.
#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::assembly::{Backends, Infra, InfraConfig, OpenContext, Section, factory};
use infra_core::cache::{Cache, KeyValueExt as _};
use infra_core::config::{BackendUrl, Profile};
use infra_core::coordination::ConfigCenterExt as _;
use infra_core::database::Database;
use infra_core::error::{Error, ErrorKind};
use infra_core::lifecycle::Lifecycle;
use infra_core::rate_limit::RateLimiterExt as _;
use infra_memory::{MemoryCache, MemoryCacheConfig};
use infra_sql::SqlConfig;
use infra_testkit::time::eventually;
use message_service::assembly::backends;

const PROFILE: Profile = Profile::Development;

fn section(url: &str) -> Section {
    Section::new(BackendUrl::parse(url).expect("a URL"))
}

#[tokio::test]
async fn opens_everything_in_order_and_closes_it_in_reverse() {
    let infra = Infra::open("test", InfraConfig::of(PROFILE), &backends(), PROFILE)
        .await
        .expect("embedded defaults");
    let opened: Vec<_> = infra.backends().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        opened,
        [
            "coordination",
            "cache",
            "database",
            "queue",
            "rate_limit",
            "once",
            "search"
        ]
    );
    assert!(infra.health().await.is_healthy());

    let cache = infra.cache().clone();
    cache
        .set_json("key", &1, infra_core::Ttl::Never)
        .await
        .expect("open");
    infra.shutdown().await.expect("a clean end");
    let error = cache.get_json::<i32>("key").await.expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::Closed);
}

/// A cache whose shutdown is noticed by whoever kept it.
fn noticed_cache(kept: &Arc<Mutex<Option<Arc<MemoryCache>>>>) -> Backends {
    let mut backends = backends();
    let kept = kept.clone();
    backends.with_cache(
        "memory",
        factory(move |config: MemoryCacheConfig, _: OpenContext| {
            let cache = MemoryCache::with_config(config).map(Arc::new);
            if let Ok(cache) = &cache {
                *kept.lock().expect("not poisoned") = Some(cache.clone());
            }
            async move { Ok(cache? as Arc<dyn Cache>) }
        }),
    );
    backends
}

#[tokio::test]
async fn a_failure_half_way_closes_what_was_opened_and_names_the_component() {
    let kept = Arc::default();
    let mut backends = noticed_cache(&kept);
    backends.with_database(
        "sqlite",
        factory(|_: SqlConfig, _: OpenContext| async move {
            Err::<Arc<dyn Database>, _>(Error::new(ErrorKind::Unavailable, "connection refused"))
        }),
    );
    let error = Infra::open("test", InfraConfig::of(PROFILE), &backends, PROFILE)
        .await
        .expect_err("no database");
    assert_eq!(
        (error.kind(), error.component(), error.backend()),
        (ErrorKind::Unavailable, "database", "sqlite")
    );
    let cache = kept
        .lock()
        .expect("not poisoned")
        .clone()
        .expect("the cache was opened before the database");
    let closed = cache.get_json::<i32>("key").await.expect_err("closed again");
    assert_eq!(closed.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn every_problem_is_told_at_once_before_anything_is_opened() {
    let kept = Arc::default();
    let mut config = InfraConfig::of(PROFILE);
    config.cache = config.cache.with_option("max_entries", "many");
    config.database = section("postgres://db/app");
    config.search = section("tantivy://:memory:").with_option("max_page_size", 0);
    config.shutdown_deadline = Duration::ZERO;
    let error = Infra::open("test", config, &noticed_cache(&kept), PROFILE)
        .await
        .expect_err("four problems");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    for part in [
        "cache",
        "max_entries",
        "database",
        "sqlite://",
        "search",
        "max_page_size",
        "shutdown_deadline",
    ] {
        assert!(error.message().contains(part), "{part} is missing in: {error}");
    }
    assert!(kept.lock().expect("not poisoned").is_none(), "nothing was opened");
}

#[tokio::test]
async fn rules_in_the_configuration_centre_take_effect_without_a_restart() {
    let infra = Infra::open("test", InfraConfig::of(PROFILE), &backends(), PROFILE)
        .await
        .expect("embedded defaults");
    let denied = infra.limiter().check("ann", "post").await.expect("decided");
    assert!(!denied.allowed, "a rule that does not exist denies");

    let rule = serde_json::json!({ "rate": 1.0, "capacity": 2 });
    let path = InfraConfig::of(PROFILE).rate_limit.rules_path;
    infra
        .coordinator()
        .set(&format!("{path}post.json"), &rule)
        .await
        .expect("written");
    let allowed = async || {
        infra
            .limiter()
            .check("ann", "post")
            .await
            .expect("decided")
            .allowed
    };
    assert!(eventually(Duration::from_secs(5), allowed).await);
    infra.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn a_step_that_hangs_is_abandoned_and_named_and_the_others_stop() {
    let stopped = Arc::new(AtomicUsize::new(0));
    let mut lifecycle = Lifecycle::new(Duration::from_millis(20));
    let counted = stopped.clone();
    lifecycle.push_stop("first", move |_| {
        Box::pin(async move {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    });
    lifecycle.push_stop("hangs", |_| Box::pin(std::future::pending()));
    let error = lifecycle
        .shutdown()
        .await
        .into_result()
        .expect_err("one step hangs");
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("hangs"));
    assert_eq!(stopped.load(Ordering::SeqCst), 1);
}
