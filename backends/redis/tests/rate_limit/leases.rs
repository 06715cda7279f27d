//! Leases of tokens over a real Redis: what several processes pass together, and how many round trips that takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use infra_core::capability::Capabilities;
use infra_core::rate_limit::{Decision, LeaseConfig, Quota, RateLimitStore, Take, TokenLeases};
use infra_core::{Backend, Result, async_trait};
use infra_redis::RedisRateLimitStore;
use infra_testkit::unique;

use crate::buckets::store;

const RATE: f64 = 2_000.0;
const CAPACITY: u64 = 400;
const LEASE: Duration = Duration::from_millis(100);
const RUN: Duration = Duration::from_secs(2);

/// A store that counts how often it is asked.
#[derive(Debug)]
struct Counting(RedisRateLimitStore, AtomicU64);

#[async_trait]
impl Backend for Counting {
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.0.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.0.shutdown(deadline).await
    }
}

#[async_trait]
impl RateLimitStore for Counting {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.take(takes).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_pass_what_is_stated_and_ask_a_tenth_as_often() {
    let (key, quota) = (unique("leased"), Quota::new(RATE, CAPACITY).unwrap());
    let began = Instant::now();
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let Some((client, _)) = store().await else {
            return;
        };
        let client = Arc::new(Counting(client, AtomicU64::new(0)));
        let config = LeaseConfig::default().with_time(LEASE).with_share(0.25);
        let leases = TokenLeases::new(client.clone(), config, 100).unwrap();
        let key = key.clone();
        processes.spawn(async move {
            let (mut asked, mut passed) = (0_u64, 0_u64);
            while began.elapsed() < RUN {
                for _ in 0..20 {
                    let decided = leases.take(&[Take::new(&key, quota, 1)]).await.unwrap();
                    asked += 1;
                    passed += u64::from(decided[0].allowed);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (asked, passed, client.1.load(Ordering::Relaxed))
        });
    }
    let (mut asked, mut passed, mut trips) = (0, 0, 0);
    while let Some(one) = processes.join_next().await {
        let (a, p, t) = one.unwrap();
        (asked, passed, trips) = (asked + a, passed + p, trips + t);
    }
    let window = (began.elapsed() + LEASE).as_secs_f64();
    let bound = CAPACITY as f64 + RATE * window;
    assert!(passed as f64 <= bound, "{passed} passed, and {bound} may");
    assert!(passed > 1_000, "{passed} of {asked} passed");
    assert!(trips * 10 <= asked, "{trips} round trips for {asked} takes");
}
