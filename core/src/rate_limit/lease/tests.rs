//! Leases on paused time: the bounds that are stated, and the round trips that are saved.

use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;
use crate::error::ErrorKind;
use crate::rate_limit::{
    Limiter, LimiterDependencies, LocalBuckets, Mode, RateLimitConfig, RateLimiterExt, Rule,
};

const MS: Duration = Duration::from_millis(1);
const LEASE: Duration = Duration::from_millis(100);

fn quota(rate: f64, capacity: u64) -> Quota {
    Quota::new(rate, capacity).expect("a valid quota")
}

/// A shared store some way off, which counts.
#[derive(Debug)]
struct Far {
    buckets: LocalBuckets,
    way: Duration,
    trips: AtomicUsize,
    given: AtomicUsize,
    down: AtomicBool,
}

impl Far {
    fn new(way: Duration) -> Arc<Self> {
        Arc::new(Self {
            buckets: LocalBuckets::new(1_000),
            way,
            trips: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            down: AtomicBool::new(false),
        })
    }

    fn trips(&self) -> usize {
        self.trips.load(Ordering::Relaxed)
    }

    fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }

    fn leases(self: &Arc<Self>, share: f64) -> TokenLeases {
        let config = LeaseConfig::default().with_time(LEASE).with_share(share);
        TokenLeases::new(Arc::clone(self) as Arc<dyn RateLimitStore>, config, 100).expect("valid")
    }
}

#[async_trait]
impl Backend for Far {
    fn backend(&self) -> &'static str {
        "far"
    }

    fn capabilities(&self) -> &Capabilities {
        self.buckets.capabilities()
    }

    async fn health(&self) -> Result<()> {
        Ok(())
    }

    async fn shutdown(&self, _: Duration) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl RateLimitStore for Far {
    async fn take(&self, takes: &[Take]) -> Result<Vec<Decision>> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        sleep(self.way / 2).await;
        if self.down.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "connection refused"));
        }
        let decided = self.buckets.take(takes).await?;
        if decided.iter().all(|decision| decision.allowed) {
            let cost: u32 = takes.iter().map(|take| take.cost).sum();
            self.given.fetch_add(cost as usize, Ordering::Relaxed);
        }
        sleep(self.way / 2).await;
        Ok(decided)
    }
}

async fn take(leases: &TokenLeases, quota: Quota, cost: u32) -> Decision {
    let decided = leases.take(&[Take::new("bucket", quota, cost)]).await;
    decided.expect("decided")[0]
}

#[tokio::test(start_paused = true)]
async fn round_trips_drop_at_least_tenfold() {
    let store = Far::new(2 * MS);
    let (leases, quota) = (store.leases(0.1), quota(1_000.0, 1_000));
    for check in 0..2_000 {
        assert!(take(&leases, quota, 1).await.allowed, "check {check}");
        sleep(MS).await;
    }
    assert!(
        store.trips() <= 200,
        "{} round trips for 2000 checks",
        store.trips()
    );
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_bucket_is_not_asked_at_every_check() {
    let store = Far::new(MS);
    let (leases, quota) = (store.leases(0.1), quota(1_000.0, 1_000));
    let mut allowed = 0;
    let began = Instant::now();
    // Ten checks for each token that comes in.
    let workers = (0..10).map(|_| async {
        let mut allowed = 0_u32;
        while began.elapsed() < Duration::from_secs(2) {
            allowed += u32::from(take(&leases, quota, 1).await.allowed);
            sleep(MS).await;
        }
        allowed
    });
    for worker in join_all(workers).await {
        allowed += worker;
    }
    assert!(store.trips() < 1_000, "{} round trips", store.trips());
    assert!(
        (2_500..=3_100).contains(&allowed),
        "{allowed} of the 3000 tokens of two seconds"
    );
}

/// What is stated of windows, with four processes, in traffic that comes and goes.
#[tokio::test(start_paused = true)]
async fn no_window_sees_more_than_the_quota_and_what_comes_in_during_a_lease() {
    for seed in 0..20 {
        let store = Far::new(3 * MS);
        let (rate, capacity) = (2_000.0, 300);
        let quota = quota(rate, capacity);
        let began = Instant::now();
        let processes = (0..4_u64).map(|process| {
            let leases = store.leases(0.5);
            let mut random = fastrand::Rng::with_seed(seed * 4 + process);
            async move {
                let mut given = Vec::new();
                while began.elapsed() < Duration::from_secs(1) {
                    let burst = random.u32(0..60);
                    for _ in 0..burst {
                        let cost = random.u32(1..4);
                        if take(&leases, quota, cost).await.allowed {
                            given.push((began.elapsed(), cost));
                        }
                    }
                    sleep(random.u32(1..80) * MS).await;
                }
                given
            }
        });
        let mut given: Vec<_> = join_all(processes).await.concat();
        given.sort_unstable();
        assert!(given.len() > 300, "{} takes passed", given.len());
        for (first, (from, _)) in given.iter().enumerate() {
            let mut sum = 0;
            for (until, cost) in &given[first..] {
                sum += cost;
                // The way back from the store takes its time with and without leases.
                let window = (*until - *from + LEASE + 3 * MS).as_secs_f64();
                let bound = capacity as f64 + rate * window;
                assert!(f64::from(sum) <= bound, "seed {seed}: {sum} above {bound}");
            }
        }
    }
}

/// The bound is not too wide by much: held tokens come on top of a bucket that has filled up meanwhile.
#[tokio::test(start_paused = true)]
async fn held_tokens_come_on_top_of_a_full_bucket() {
    let store = Far::new(Duration::ZERO);
    let (leases, quota) = (store.leases(1.0), quota(1_000.0, 100));
    // Lots of 1, 2, 4, 8, 16 and 32 are used up, one of 37 is what is left.
    for _ in 0..64 {
        assert!(take(&leases, quota, 1).await.allowed);
    }
    let held = store.given() - 64;
    assert!(held > 30, "{held} tokens are held");
    sleep(99 * MS).await;
    let mut at_once = 0;
    while take(&leases, quota, 1).await.allowed {
        at_once += 1;
    }
    assert!(
        at_once > 100 && at_once <= 200,
        "{at_once} at once, of 100 and what comes in during a lease"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_no_more_than_what_was_used_and_one() {
    let store = Far::new(MS);
    let (leases, quota) = (store.leases(1.0), quota(1_000.0, 1_000));
    let mut used = 0;
    // Bursts of three in each lease, after one of two hundred.
    for burst in std::iter::once(200).chain(std::iter::repeat_n(3, 20)) {
        let before = store.given();
        for _ in 0..burst {
            assert!(take(&leases, quota, 1).await.allowed);
        }
        used += burst;
        sleep(LEASE).await;
        let taken = store.given() - before;
        assert!(
            taken <= 2 * burst + 200 * usize::from(used == 203),
            "{taken} taken for {burst}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_lost_with_their_lease() {
    let store = Far::new(Duration::ZERO);
    let (leases, quota) = (store.leases(1.0), quota(1_000.0, 100));
    for _ in 0..8 {
        assert!(take(&leases, quota, 1).await.allowed);
    }
    let (trips, held) = (store.trips(), store.given() - 8);
    assert!(held > 0);
    sleep(LEASE - MS).await;
    assert!(take(&leases, quota, 1).await.allowed);
    assert_eq!(store.trips(), trips, "under the lease");
    sleep(MS).await;
    assert!(take(&leases, quota, 1).await.allowed);
    assert_eq!(store.trips(), trips + 1, "after it");
}

#[tokio::test(start_paused = true)]
async fn many_at_once_make_one_trip() {
    let store = Far::new(10 * MS);
    let (leases, quota) = (store.leases(1.0), quota(1_000.0, 1_000));
    let allowed = join_all((0..64).map(|_| take(&leases, quota, 1))).await;
    assert!(allowed.iter().all(|decision| decision.allowed));
    assert!(store.trips() <= 2, "{} round trips", store.trips());
    assert_eq!(store.given(), 64, "taken for those who wanted them");
}

#[tokio::test(start_paused = true)]
async fn leases_shorter_than_the_way_take_no_lots() {
    let store = Far::new(2 * LEASE);
    let (leases, quota) = (store.leases(1.0), quota(1_000.0, 1_000));
    for _ in 0..20 {
        assert!(take(&leases, quota, 1).await.allowed);
    }
    assert_eq!(store.given(), 20, "nothing is lost");
}

#[tokio::test(start_paused = true)]
async fn a_denial_tells_when_and_smaller_takes_pass() {
    let store = Far::new(Duration::ZERO);
    let (leases, quota) = (store.leases(0.5), quota(100.0, 10));
    assert!(take(&leases, quota, 9).await.allowed);
    let denied = take(&leases, quota, 5).await;
    assert!(!denied.allowed);
    assert_eq!((denied.limit, denied.remaining), (10, 1));
    assert_eq!(denied.retry_after, 40 * MS);
    let trips = store.trips();
    assert!(!take(&leases, quota, 6).await.allowed);
    assert_eq!(store.trips(), trips, "it cannot pass any sooner");
    assert!(take(&leases, quota, 1).await.allowed, "less than was denied");
    sleep(60 * MS).await;
    assert!(take(&leases, quota, 5).await.allowed);
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_does_not_keep_the_turn() {
    let store = Far::new(10 * MS);
    let (leases, quota) = (store.leases(1.0), quota(1_000.0, 100));
    let given_up = tokio::time::timeout(MS, take(&leases, quota, 1)).await;
    assert!(given_up.is_err());
    assert!(take(&leases, quota, 1).await.allowed);
    store.down.store(true, Ordering::Relaxed);
    sleep(LEASE).await;
    let failed = leases.take(&[Take::new("bucket", quota, 1)]).await;
    assert_eq!(failed.expect_err("down").kind(), ErrorKind::Unavailable);
    store.down.store(false, Ordering::Relaxed);
    assert!(take(&leases, quota, 1).await.allowed);
}

#[tokio::test(start_paused = true)]
async fn another_quota_begins_anew() {
    let store = Far::new(Duration::ZERO);
    let leases = store.leases(1.0);
    for _ in 0..4 {
        assert!(take(&leases, quota(1_000.0, 100), 1).await.allowed);
    }
    let given = store.given();
    assert!(take(&leases, quota(1_000.0, 50), 1).await.allowed);
    assert_eq!(store.given(), given + 1, "held tokens of the old quota were used");
}

#[tokio::test(start_paused = true)]
async fn buckets_that_there_is_no_room_for_are_the_stores() {
    let store = Far::new(Duration::ZERO);
    let config = LeaseConfig::default();
    let leases = TokenLeases::new(Arc::clone(&store) as Arc<dyn RateLimitStore>, config, 1).expect("valid");
    let quota = quota(1_000.0, 1_000);
    let takes = |key: &str| [Take::new(key, quota, 1)];
    for _ in 0..3 {
        assert!(leases.take(&takes("first")).await.expect("decided")[0].allowed);
    }
    let trips = store.trips();
    for _ in 0..10 {
        assert!(leases.take(&takes("second")).await.expect("decided")[0].allowed);
    }
    assert_eq!(store.trips(), trips + 10);
    // The first is not in use any more.
    sleep(LEASE).await;
    for _ in 0..10 {
        assert!(leases.take(&takes("second")).await.expect("decided")[0].allowed);
    }
    assert!(store.trips() < trips + 20);
    assert_eq!(leases.lock().of.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn several_buckets_are_the_stores() {
    let store = Far::new(Duration::ZERO);
    let (leases, quota) = (store.leases(1.0), quota(1_000.0, 100));
    let takes = [Take::new("bucket", quota, 60), Take::new("bucket", quota, 60)];
    let decided = leases.take(&takes).await.expect("decided");
    assert!(decided.iter().any(|decision| !decision.allowed));
    assert!(leases.take(&[]).await.expect("nothing").is_empty());
    let refused = leases.take(&[Take::new("bucket", quota, 0)]).await;
    assert_eq!(refused.expect_err("no cost").kind(), ErrorKind::InvalidArgument);
    leases.shutdown(MS).await.expect("shut down");
    let closed = leases.take(&takes).await;
    assert_eq!(closed.expect_err("closed").kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_leases_when_it_is_told_to() {
    for (lease, most) in [(None, 100), (Some(LeaseConfig::default()), 10)] {
        let store = Far::new(Duration::ZERO);
        let mut config = RateLimitConfig::development()
            .with_mode(Mode::Distributed)
            .with_rule("rule", Rule::new(1_000.0, 1_000));
        config.lease = lease;
        let dependencies = LimiterDependencies::new().with_store(store.clone());
        let limiter = Limiter::new(config, dependencies).expect("valid");
        for _ in 0..100 {
            assert!(limiter.check("user", "rule").await.expect("decided").allowed);
        }
        assert!(store.trips() <= most, "{} round trips", store.trips());
        assert!(lease.is_some() || store.trips() == 100, "the default is none");
    }
}
