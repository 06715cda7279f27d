//! Read-through loading, over the in-process cache and tokio's paused clock.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed; clippy knows this of test functions only"
)]

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use infra_core::cache::{CacheLoader, KeyValue, Keys, LoadOptions};
use infra_core::capability::Limits;
use infra_core::intercept::{Fault, Faults, Stack};
use infra_core::{Backend, Error, ErrorKind, Result, Ttl};
use infra_memory::MemoryCache;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep};

const TTL: Duration = Duration::from_secs(100);
const KEY: &str = "user:1";

/// A source of values that counts how often it is asked.
#[derive(Clone, Default)]
struct Source(Arc<AtomicU32>);

impl Source {
    fn calls(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// A loader that takes a second and gives the number of the call.
    fn count(&self) -> Load {
        self.then(|call| Ok(Some(call)))
    }

    fn none(&self) -> Load {
        self.then(|_| Ok(None))
    }

    fn fail(&self) -> Load {
        self.then(|_| Err(Error::new(ErrorKind::Unavailable, "the database is away")))
    }

    fn then(&self, answer: impl FnOnce(u32) -> Result<Option<u32>> + Send + 'static) -> Load {
        let calls = Arc::clone(&self.0);
        Box::new(move || {
            Box::pin(async move {
                let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
                sleep(Duration::from_secs(1)).await;
                answer(call)
            })
        })
    }
}

type Loading = Pin<Box<dyn Future<Output = Result<Option<u32>>> + Send>>;
type Load = Box<dyn FnOnce() -> Loading + Send>;

fn options() -> LoadOptions {
    LoadOptions::new(TTL).with_jitter(0.0)
}

fn loader(options: LoadOptions) -> CacheLoader {
    CacheLoader::new(Arc::new(MemoryCache::new()), options).unwrap()
}

#[tokio::test(start_paused = true)]
async fn sixty_four_callers_share_one_load() {
    let (loader, source) = (loader(options()), Source::default());
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let (loader, source) = (loader.clone(), source.clone());
        callers.spawn(async move { loader.get_or_load(KEY, source.count()).await });
    }
    while let Some(got) = callers.join_next().await {
        assert_eq!(got.unwrap().unwrap(), Some(1));
    }
    assert_eq!(source.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_caller_that_looked_before_the_load_ended_does_not_load_again() {
    let loader = loader(options());
    for round in 0..200 {
        let loads = Arc::new(AtomicU32::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let (loader, loads) = (loader.clone(), Arc::clone(&loads));
            callers.spawn(async move {
                let load = move || async move { Ok(Some(loads.fetch_add(1, Ordering::SeqCst))) };
                loader.get_or_load(&format!("k{round}"), load).await.unwrap()
            });
        }
        callers.join_all().await;
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_cached_for_its_time_and_keys_are_apart() {
    let (loader, source) = (loader(options()), Source::default());
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(1));
    advance(TTL - Duration::from_millis(1)).await;
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(1));
    assert_eq!(
        loader.get_or_load("user:2", source.count()).await.unwrap(),
        Some(2)
    );
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn absence_is_remembered_for_its_own_time() {
    let source = Source::default();
    let loader = loader(options().with_negative_ttl(Duration::from_secs(5)));
    for _ in 0..3 {
        assert_eq!(loader.get_or_load(KEY, source.none()).await.unwrap(), None);
    }
    assert_eq!(source.calls(), 1);
    advance(Duration::from_secs(5)).await;
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn absence_is_not_remembered_when_its_time_is_zero() {
    let source = Source::default();
    let loader = loader(options().with_negative_ttl(Duration::ZERO));
    for _ in 0..3 {
        assert_eq!(loader.get_or_load(KEY, source.none()).await.unwrap(), None);
    }
    assert_eq!(source.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_shared_but_not_cached() {
    let (loader, source) = (loader(options()), Source::default());
    let (first, second) = tokio::join!(
        loader.get_or_load(KEY, source.fail()),
        loader.get_or_load(KEY, source.fail())
    );
    for got in [first, second] {
        let error = got.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Unavailable, "the database is away")
        );
    }
    assert_eq!(source.calls(), 1);
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_panic_frees_those_who_wait_and_the_next_caller_loads() {
    let (loader, source) = (loader(options()), Source::default());
    let panicking = || source.then(|_| panic!("the loader's own defect"));
    let (first, second) = tokio::join!(
        loader.get_or_load(KEY, panicking()),
        loader.get_or_load(KEY, panicking())
    );
    for got in [first, second] {
        assert_eq!(got.unwrap_err().kind(), ErrorKind::Internal);
    }
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_stop_the_load() {
    let (loader, source) = (loader(options()), Source::default());
    let impatient = tokio::time::timeout(
        Duration::from_millis(500),
        loader.get_or_load(KEY, source.count()),
    );
    let (gave_up, patient) = tokio::join!(impatient, async {
        sleep(Duration::from_millis(100)).await;
        loader.get_or_load(KEY, source.count()).await
    });
    assert!(gave_up.is_err());
    assert_eq!(patient.unwrap(), Some(1));
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_is_bounded_in_time() {
    let loader = loader(options().with_load_timeout(Duration::from_secs(3)));
    let begun = Instant::now();
    let stuck = || std::future::pending::<Result<Option<u32>>>();
    let error = loader.get_or_load(KEY, stuck).await.unwrap_err();
    assert_eq!(
        (error.kind(), begun.elapsed()),
        (ErrorKind::Timeout, Duration::from_secs(3))
    );
    assert!(error.message().contains(KEY));
    let source = Source::default();
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_value_about_to_expire_is_refreshed_in_the_background() {
    let (loader, source) = (loader(options().with_refresh_ahead(0.2)), Source::default());
    loader.get_or_load(KEY, source.count()).await.unwrap();
    advance(Duration::from_secs(79)).await;
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(1));
    assert_eq!(source.calls(), 1, "too early to refresh");
    advance(Duration::from_secs(2)).await;
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(1));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(source.calls(), 2, "refreshed once");
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_is_held_off_and_the_value_stays() {
    let (loader, source) = (loader(options().with_refresh_ahead(0.5)), Source::default());
    loader.get_or_load(KEY, source.count()).await.unwrap();
    advance(Duration::from_secs(60)).await;
    // The failing load takes one second, then the next is held off for one second: 10 s hold about five of them.
    for _ in 0..100 {
        assert_eq!(loader.get_or_load(KEY, source.fail()).await.unwrap(), Some(1));
        sleep(Duration::from_millis(100)).await;
    }
    assert!((5..=7).contains(&source.calls()), "{} calls", source.calls());
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_only_when_loading_fails_and_only_so_long() {
    let source = Source::default();
    let loader = loader(options().with_stale_for(Duration::from_secs(50)));
    loader.get_or_load(KEY, source.count()).await.unwrap();
    advance(TTL).await;
    assert_eq!(loader.get_or_load(KEY, source.fail()).await.unwrap(), Some(1));
    assert_eq!(
        loader.get_or_load(KEY, source.count()).await.unwrap(),
        Some(3),
        "loaded anew as soon as possible"
    );
    advance(TTL + Duration::from_secs(50)).await;
    let error = loader.get_or_load(KEY, source.fail()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn times_to_live_are_spread() {
    let cache = Arc::new(MemoryCache::new());
    let loader = CacheLoader::new(cache.clone(), LoadOptions::new(TTL).with_jitter(0.5)).unwrap();
    let mut ttls = Vec::new();
    for number in 0..50_u32 {
        let key = format!("k{number}");
        loader
            .get_or_load(&key, || async { Ok(Some(1_u32)) })
            .await
            .unwrap();
        ttls.push(cache.ttl(&key).await.unwrap().unwrap().duration().unwrap());
    }
    assert!(ttls.iter().all(|ttl| *ttl >= TTL / 2 && *ttl <= TTL));
    let spread = *ttls.iter().max().unwrap() - *ttls.iter().min().unwrap();
    assert!(spread > TTL / 5, "spread over {spread:?} only");
}

#[tokio::test(start_paused = true)]
async fn an_invalidated_load_is_not_cached() {
    let (loader, source) = (loader(options()), Source::default());
    let (before, ()) = tokio::join!(loader.get_or_load(KEY, source.count()), async {
        sleep(Duration::from_millis(500)).await;
        loader.invalidate(KEY).await.unwrap();
    });
    assert_eq!(before.unwrap(), Some(1), "who asked before gets the old value");
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(2));
    assert!(loader.invalidate(KEY).await.unwrap());
    assert!(!loader.invalidate(KEY).await.unwrap());
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn foreign_and_outdated_values_are_replaced() {
    let cache = Arc::new(MemoryCache::new());
    let loader = CacheLoader::new(cache.clone(), options()).unwrap();
    cache.set(KEY, "plain text".into(), Ttl::Never).await.unwrap();
    assert_eq!(
        loader
            .get_or_load(KEY, || async { Ok(Some("text".to_owned())) })
            .await
            .unwrap()
            .as_deref(),
        Some("text")
    );
    let source = Source::default();
    assert_eq!(
        loader.get_or_load(KEY, source.count()).await.unwrap(),
        Some(1),
        "the type changed"
    );
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_cache_does_not_stop_the_service() {
    let faults = Arc::new(Faults::new());
    let cache = Stack::new()
        .with_shared(faults.clone())
        .wrap(Arc::new(MemoryCache::new()));
    let loader = CacheLoader::new(cache, options()).unwrap();
    let source = Source::default();
    faults.always("cache.*", Fault::Err(ErrorKind::Unavailable));
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(1));
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(2));
    faults.clear();
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(3));
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn the_callers_own_mistakes_and_a_shutdown_are_told() {
    let cache = Arc::new(MemoryCache::new());
    let loader = CacheLoader::new(cache.clone(), options()).unwrap();
    let source = Source::default();
    let refused = loader.get_or_load("", source.count()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    cache.shutdown(Duration::from_secs(1)).await.unwrap();
    let closed = loader.get_or_load(KEY, source.count()).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
    assert_eq!(source.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn with_cluster_locks_two_processes_share_one_load() {
    let cache = Arc::new(MemoryCache::new());
    let process = || {
        CacheLoader::new(cache.clone(), options())
            .unwrap()
            .with_cluster_locks(cache.clone())
    };
    let (one, other) = (process(), process());
    let source = Source::default();
    let (first, second) = tokio::join!(
        one.get_or_load(KEY, source.count()),
        other.get_or_load(KEY, source.count())
    );
    assert_eq!((first.unwrap(), second.unwrap()), (Some(1), Some(1)));
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_lock_that_cannot_be_had_only_costs_time() {
    let cache = Arc::new(MemoryCache::new());
    let held = infra_core::coordination::Locks::try_acquire(&*cache, "load:user:1", Duration::from_secs(30))
        .await
        .unwrap();
    assert!(held.is_some());
    let loader = CacheLoader::new(cache.clone(), options().with_load_timeout(Duration::from_secs(2)))
        .unwrap()
        .with_cluster_locks(cache);
    let source = Source::default();
    let begun = Instant::now();
    assert_eq!(loader.get_or_load(KEY, source.count()).await.unwrap(), Some(1));
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn two_types_under_one_key_are_told_apart() {
    let loader = loader(options());
    let go = Arc::new(Notify::new());
    let text = loader.get_or_load(KEY, {
        let go = Arc::clone(&go);
        move || async move {
            go.notified().await;
            Ok(Some("text".to_owned()))
        }
    });
    let number = async {
        sleep(Duration::from_millis(10)).await;
        go.notify_one();
        loader.get_or_load(KEY, || async { Ok(Some(1_u32)) }).await
    };
    let (text, number) = tokio::join!(text, number);
    assert_eq!(text.unwrap().as_deref(), Some("text"));
    assert_eq!(number.unwrap_err().kind(), ErrorKind::DataCorrupted);
}

#[test]
fn impossible_options_are_refused_all_at_once() {
    let year = Limits::DEFAULT.max_ttl;
    let options = LoadOptions::new(year)
        .with_jitter(1.0)
        .with_refresh_ahead(f64::NAN)
        .with_stale_for(Duration::MAX)
        .with_load_timeout(Duration::ZERO);
    let error = CacheLoader::new(Arc::new(MemoryCache::new()), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    for path in ["jitter", "refresh_ahead", "stale_for", "load_timeout"] {
        assert!(error.message().contains(path), "{error}");
    }
}
