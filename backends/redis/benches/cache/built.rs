//! What is built on Redis: locks, filters, idempotency, rate limits, loading. The bare driver does the fewest round trips that the
//! same can be done with, each with a script where we have one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use infra_core::Ttl;
use infra_core::cache::{
    Bloom, BloomOptions, CacheLoader, KeyValue, LoadOptions, RankRange, Scored, SortedSets,
};
use infra_core::coordination::Locks;
use infra_core::once::{OnceConfig, OnceExt, OnceOptions, StoreOnce};
use infra_core::rate_limit::{
    LeaseConfig, Limiter, LimiterDependencies, Mode, RateLimitConfig, RateLimiterExt, Rule,
};
use infra_redis::redis::{self, AsyncCommands, Script};
use infra_redis::{RedisOnceStore, RedisRateLimitStore};

use crate::Clients;
use crate::load::{Comparison, asking};

const TTL: Duration = Duration::from_secs(30);
/// What any script costs: it looks at a key and answers.
const FLOOR: &str = "return redis.call('EXISTS', KEYS[1])";
const TASKS: [usize; 2] = [1, 64];

pub(crate) async fn run(clients: &Clients) {
    pages(clients).await;
    filters(clients).await;
    locks(clients).await;
    once(clients).await;
    limits(clients).await;
    stampede(clients).await;
}

async fn pages(clients: &Clients) {
    let members: Vec<Scored> = (0..500)
        .map(|number| Scored::new(format!("member-{number}"), f64::from(number)))
        .collect();
    clients.ours.sorted_add("b-page", &members).await.expect("added");
    let place = clients.place("b-page");
    for tasks in TASKS {
        let place = place.clone();
        let callers = vec![
            (
                "redis",
                asking(clients.bare.clone(), move |mut bare, _| {
                    let place = place.clone();
                    async move {
                        let page: Vec<(Vec<u8>, f64)> =
                            bare.zrevrange_withscores(place, 0, 49).await.expect("answered");
                        assert_eq!(page.len(), 50);
                    }
                }),
            ),
            (
                "infra-redis",
                asking(clients.ours.clone(), |ours, _| async move {
                    let page = ours.sorted_range("b-page", RankRange::greatest(50)).await;
                    assert_eq!(page.expect("answered").len(), 50);
                }),
            ),
        ];
        Comparison::run("page of 50 of a sorted set", tasks, callers)
            .await
            .print();
    }
}

async fn filters(clients: &Clients) {
    let options = BloomOptions::new(0.01, 1_000_000);
    clients
        .ours
        .bloom_reserve("b-filter", options)
        .await
        .expect("reserved");
    for tasks in TASKS {
        let callers = vec![
            ("a script", floor(clients)),
            (
                "bloom add",
                asking(clients.ours.clone(), |ours, number| async move {
                    ours.bloom_add("b-filter", &number.to_le_bytes())
                        .await
                        .expect("added");
                }),
            ),
        ];
        Comparison::run("bloom add", tasks, callers).await.print();
    }
}

fn floor(clients: &Clients) -> crate::load::Runner {
    let (script, place) = (Arc::new(Script::new(FLOOR)), clients.place("b-floor"));
    asking(clients.bare.clone(), move |mut bare, number| {
        let (script, place) = (Arc::clone(&script), format!("{place}-{number}"));
        async move {
            let _: i64 = script.key(place).invoke_async(&mut bare).await.expect("answered");
        }
    })
}

async fn locks(clients: &Clients) {
    let release = Arc::new(Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0",
    ));
    for tasks in TASKS {
        let (release, place, unique) = (
            Arc::clone(&release),
            clients.place("b-bare-lock"),
            AtomicU64::new(0),
        );
        let our_unique = AtomicU64::new(0);
        let callers = vec![
            (
                "redis",
                asking(clients.bare.clone(), move |mut bare, _| {
                    let (release, place) = (Arc::clone(&release), place.clone());
                    let key = format!("{place}-{}", unique.fetch_add(1, Ordering::Relaxed));
                    async move {
                        let taken: bool = redis::cmd("SET")
                            .arg(&key)
                            .arg("owner")
                            .arg("NX")
                            .arg("PX")
                            .arg(30_000)
                            .query_async(&mut bare)
                            .await
                            .expect("answered");
                        assert!(taken);
                        let freed: i64 = release
                            .key(key)
                            .arg("owner")
                            .invoke_async(&mut bare)
                            .await
                            .expect("answered");
                        assert_eq!(freed, 1);
                    }
                }),
            ),
            (
                "infra-redis",
                asking(clients.ours.clone(), move |ours, _| {
                    let key = format!("b-{}", our_unique.fetch_add(1, Ordering::Relaxed));
                    async move {
                        let guard = ours
                            .try_acquire(&key, TTL)
                            .await
                            .expect("answered")
                            .expect("free");
                        guard.release().await.expect("released");
                    }
                }),
            ),
        ];
        Comparison::run("lock and unlock", tasks, callers).await.print();
    }
}

async fn once(clients: &Clients) {
    let store = RedisOnceStore::connect(clients.config.clone())
        .await
        .expect("connected");
    let config = OnceConfig::production().with_prefix("b-once:");
    let once = Arc::new(StoreOnce::new(Arc::new(store), config).expect("valid"));
    let options = || OnceOptions::new(Duration::from_secs(60));
    let done = once.execute("done", options(), async { Ok(1_u32) }).await;
    assert!(!done.expect("executed").is_replay());
    let next = Arc::new(AtomicU64::new(0));
    for tasks in TASKS {
        let next = Arc::clone(&next);
        let callers = vec![
            ("a script", floor(clients)),
            (
                "once, done",
                asking(Arc::clone(&once), move |once, _| async move {
                    let outcome = once.execute("done", options(), async { Ok(2_u32) }).await;
                    assert!(outcome.expect("answered").is_replay());
                }),
            ),
            (
                "once, executed",
                asking(Arc::clone(&once), move |once, _| {
                    let key = format!("new-{}", next.fetch_add(1, Ordering::Relaxed));
                    async move {
                        let outcome = once.execute(&key, options(), async { Ok(2_u32) }).await;
                        assert!(!outcome.expect("answered").is_replay());
                    }
                }),
            ),
        ];
        Comparison::run("idempotency", tasks, callers).await.print();
    }
}

async fn limits(clients: &Clients) {
    let limiter = async |lease: Option<LeaseConfig>| {
        let store = RedisRateLimitStore::connect(clients.config.clone())
            .await
            .expect("connected");
        let rule = Rule::new(1_000_000.0, 1_000_000);
        let mut config = RateLimitConfig::production()
            .with_service("b")
            .with_mode(Mode::Distributed)
            .with_rule("wide", rule);
        if let Some(lease) = lease {
            config = config.with_lease(lease);
        }
        let dependencies = LimiterDependencies::new().with_store(Arc::new(store));
        Arc::new(Limiter::new(config, dependencies).expect("valid"))
    };
    let (each, leased) = (limiter(None).await, limiter(Some(LeaseConfig::default())).await);
    for tasks in TASKS {
        let check = |limiter: &Arc<Limiter>, resource: &'static str| {
            asking(Arc::clone(limiter), move |limiter, _| async move {
                limiter.check(resource, "wide").await.expect("decided");
            })
        };
        let callers = vec![
            ("a script", floor(clients)),
            ("rate limit", check(&each, "each")),
            ("rate limit, leased", check(&leased, "leased")),
        ];
        Comparison::run("rate limit", tasks, callers).await.print();
    }
}

/// A thousand callers of a key that is not there: the loader runs once.
async fn stampede(clients: &Clients) {
    let cache: Arc<dyn KeyValue> = clients.shared();
    let loader = Arc::new(CacheLoader::new(cache, LoadOptions::new(Duration::from_secs(60))).expect("valid"));
    let loads = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let callers = (0..1000).map(|_| {
        let (loader, loads) = (Arc::clone(&loader), Arc::clone(&loads));
        tokio::spawn(async move {
            let load = move || async move {
                loads.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(Some("value".to_owned()))
            };
            loader.get_or_load("b-stampede", load).await.expect("loaded")
        })
    });
    for value in join_all(callers).await {
        assert_eq!(value.expect("no panic").as_deref(), Some("value"));
    }
    println!(
        "1,000 callers of a key that is not there: {} load of 10 ms, all answered after {:.1?}",
        loads.load(Ordering::Relaxed),
        begun.elapsed()
    );
    clients
        .ours
        .set("b-stampede", "".into(), Ttl::millis(1))
        .await
        .expect("set");
}
