//! A hit in the near tier beside a bare moka cache, and what a read allocates.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use infra_core::Ttl;
use infra_core::cache::KeyValue;
use infra_redis::{RedisCache, TwoTierConfig};

use crate::Clients;

const ROUNDS: usize = 21;
const CALLS: u32 = 20_000;
/// Much longer than it takes to connect.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(clients: &Clients) {
    let config = clients.config.clone().with_two_tier(TwoTierConfig::new());
    let near = RedisCache::connect(config).await.expect("connected");
    near.set("b-near", "value".into(), Ttl::Never).await.expect("set");
    let shared: std::sync::Arc<dyn KeyValue> = std::sync::Arc::new(near);
    let moka: moka::sync::Cache<Box<str>, Bytes> = moka::sync::Cache::new(1000);
    moka.insert("b-near".into(), "value".into());

    let until = Instant::now() + PATIENCE;
    // From another moment on everything comes from the process itself, which takes less than a microsecond or two.
    while round(async || drop(black_box(shared.get("b-near").await.expect("answered")))).await
        > Duration::from_micros(5)
    {
        assert!(Instant::now() < until, "the value is never kept");
    }
    let (mut hit, mut bare) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        bare = bare.min(round(async || drop(black_box(moka.get("b-near")))).await);
        hit = hit.min(round(async || drop(black_box(shared.get("b-near").await.expect("answered")))).await);
    }
    println!(
        "two-tier hit {hit:?}   bare moka {bare:?}   ratio {:.2}",
        hit.as_secs_f64() / bare.as_secs_f64()
    );
}

async fn round(call: impl AsyncFn()) -> Duration {
    let begun = Instant::now();
    for _ in 0..CALLS {
        call().await;
    }
    begun.elapsed() / CALLS
}
