//! What interception costs: nothing installed, one interceptor, and the whole standard stack, beside the direct call.
//!
//! Goals: at most 5 ns more with nothing installed, less than 200 ns more with the standard stack.

#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a bench prints, and stops where it cannot go on"
)]

#[path = "support/mod.rs"]
mod support;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use infra_core::breaker::{self, Breakers};
use infra_core::intercept::{
    CircuitBreaking, ConcurrencyLimit, Log, Metrics, Retrying, Stack, StackConfig, StandardStack, Timeout,
    Trace,
};
use infra_core::retry::Policy;
use infra_core::telemetry::NoMeter;
use infra_core::{Result, async_trait, intercept};
use support::{Case, compare};

#[intercept(component = "cache")]
#[async_trait]
trait KeyValue: Send + Sync {
    #[call(idempotent)]
    async fn get(&self, key: &str) -> Result<Option<Bytes>>;
}

#[derive(Debug)]
struct Constant(Bytes);

#[async_trait]
impl KeyValue for Constant {
    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        Ok((!key.is_empty()).then(|| self.0.clone()))
    }
}

fn direct() -> Arc<dyn KeyValue> {
    Arc::new(Constant(Bytes::from_static(b"value")))
}

fn through(stack: &Stack) -> Arc<dyn KeyValue> {
    stack.wrap_named("constant", direct())
}

fn get<'a>(name: &'a str, cache: &'a Arc<dyn KeyValue>) -> Case<'a> {
    Case::new(name, || cache.get(std::hint::black_box("key")).now_or_never())
}

fn breakers() -> Arc<Breakers> {
    Arc::new(Breakers::new(breaker::BreakerConfig::production()).expect("a valid configuration"))
}

fn standard() -> Stack {
    StandardStack::new(StackConfig::production())
        .with_meter(Arc::new(NoMeter))
        .with_breakers(breakers())
        .build()
        .expect("a valid configuration")
}

fn main() {
    let limit = || ConcurrencyLimit::new(NonZeroUsize::new(1024).expect("not zero"));
    let metrics = || Metrics::new(Arc::new(NoMeter));
    let timeout = || Timeout::new(Duration::from_secs(1));

    let plain = direct();
    let nothing = through(&Stack::new());
    let one = through(&Stack::new().with(timeout()));
    let parts = [
        ("trace", through(&Stack::new().with(Trace::new()))),
        ("metrics", through(&Stack::new().with(metrics()))),
        ("log", through(&Stack::new().with(Log::new()))),
        ("limit", through(&Stack::new().with(limit()))),
        (
            "breaker",
            through(&Stack::new().with(CircuitBreaking::new(breakers()))),
        ),
        (
            "retry",
            through(&Stack::new().with(Retrying::new(Policy::production()))),
        ),
    ];
    let full = through(&standard());
    let mut cases = vec![
        get("Arc<dyn KeyValue>, direct", &plain),
        get("proxy, nothing installed", &nothing),
        get("proxy, timeout", &one),
    ];
    cases.extend(parts.iter().map(|(name, cache)| get(name, cache)));
    cases.push(Case::new("tokio Instant::now twice", || {
        (tokio::time::Instant::now(), tokio::time::Instant::now())
    }));
    cases.push(get("proxy, standard stack (7 interceptors)", &full));
    compare("get, answered at once", cases);
}
