//! Unique ids over a real lease: never a duplicate, never without the lease, whatever the clock does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests are tests too

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use infra_core::ErrorKind;
use infra_core::config::{Compat, Validate};
use infra_core::coordination::InstanceIds;
use infra_core::uid::{
    Clock, SnowflakeIds, UidConfig, UidProvider, is_valid_uuid, snowflake_from_text, snowflake_to_text,
};
use infra_memory::MemoryCoordinator;
use proptest::prelude::*;

/// A clock that stands still until somebody waits for it or sets it.
#[derive(Debug)]
struct ManualClock {
    nanos: AtomicU64,
    pauses: AtomicU64,
}

const START: Duration = Duration::from_secs(1_750_000_000);

impl ManualClock {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            nanos: AtomicU64::new(START.as_nanos() as u64),
            pauses: AtomicU64::new(0),
        })
    }

    fn set(&self, time: Duration) {
        self.nanos.store(time.as_nanos() as u64, Ordering::SeqCst);
    }

    fn pauses(&self) -> u64 {
        self.pauses.load(Ordering::SeqCst)
    }
}

impl Clock for ManualClock {
    fn since_unix_epoch(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn pause(&self, duration: Duration) {
        self.pauses.fetch_add(1, Ordering::SeqCst);
        self.nanos.fetch_add(duration.as_nanos() as u64, Ordering::SeqCst);
    }
}

async fn ids_at(clock: &Arc<ManualClock>, config: UidConfig) -> SnowflakeIds {
    let instance = MemoryCoordinator::new()
        .acquire_instance_id("tests", 5..=5)
        .await
        .expect("free");
    let clock: Arc<dyn Clock> = clock.clone();
    SnowflakeIds::with_clock(instance, config, clock).expect("valid")
}

async fn connected(coordinator: &MemoryCoordinator) -> SnowflakeIds {
    SnowflakeIds::connect(Arc::new(coordinator.clone()), "tests", UidConfig::production())
        .await
        .expect("connected")
}

fn time_of(ids: &SnowflakeIds, id: i64) -> Duration {
    let parts = ids.parse_snowflake(id).expect("an id");
    parts.time.duration_since(UNIX_EPOCH).expect("after 1970")
}

#[tokio::test]
async fn no_more_than_4096_ids_carry_one_millisecond() {
    let clock = ManualClock::new();
    let ids = ids_at(&clock, UidConfig::production()).await;
    let made: Vec<i64> = (0..10_000).map(|_| ids.snowflake().expect("made")).collect();
    assert!(made.is_sorted_by(|one, next| one < next));
    for (n, id) in made.iter().enumerate() {
        let parts = ids.parse_snowflake(*id).expect("an id");
        assert_eq!((parts.instance, usize::from(parts.sequence)), (5, n % 4096));
        assert_eq!(time_of(&ids, *id), START + Duration::from_millis(n as u64 / 4096));
    }
    assert_eq!(clock.pauses(), 2, "it waited, and only when it had to");
}

#[tokio::test]
async fn a_small_step_back_is_waited_for_and_a_large_one_is_an_error() {
    let clock = ManualClock::new();
    let ids = ids_at(&clock, UidConfig::production()).await;
    clock.set(START + Duration::from_millis(5));
    // The millisecond is used up, so that going on would mean repeating or waiting.
    let last = *ids.snowflakes(4096).expect("made").last().expect("not empty");
    clock.set(START);
    let next = ids.snowflake().expect("waited for");
    assert!(next > last);
    assert_eq!(clock.since_unix_epoch(), START + Duration::from_millis(6));

    clock.set(START - Duration::from_secs(3600));
    let error = ids.snowflake().expect_err("an hour is too much");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.retry_after().expect("says when") >= Duration::from_secs(3600));
    assert_eq!(
        clock.since_unix_epoch(),
        START - Duration::from_secs(3600),
        "it did not wait"
    );
    clock.set(START + Duration::from_secs(1));
    assert!(ids.snowflake().expect("the clock caught up") > next);

    clock.set(Duration::from_secs(1));
    assert_eq!(
        ids.snowflake().expect_err("before the epoch").kind(),
        ErrorKind::Unavailable
    );
    clock.set(Duration::from_secs(130 * 366 * 24 * 3600));
    let error = ids.snowflake().expect_err("69 years are over");
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::InvalidConfig, false)
    );
}

#[tokio::test]
async fn borrowing_ahead_does_not_wait_until_its_bound() {
    let clock = ManualClock::new();
    let config = UidConfig::production().with_borrow_ahead(Duration::from_millis(3));
    let ids = ids_at(&clock, config).await;
    let made: Vec<i64> = (0..4).flat_map(|_| ids.snowflakes(4096).expect("made")).collect();
    assert_eq!(clock.pauses(), 0);
    assert!(made.is_sorted_by(|one, next| one < next));
    let last = *made.last().expect("not empty");
    assert_eq!(time_of(&ids, last), START + Duration::from_millis(3));
    assert!(ids.snowflake().expect("made") > last);
    assert_eq!(clock.pauses(), 1, "three milliseconds ahead is the bound");
}

#[tokio::test]
async fn a_wait_without_end_is_refused() {
    #[derive(Debug)]
    struct Stopped;
    impl Clock for Stopped {
        fn since_unix_epoch(&self) -> Duration {
            START
        }
        fn pause(&self, _: Duration) {
            std::thread::yield_now();
        }
    }
    let instance = MemoryCoordinator::new()
        .acquire_instance_id("tests", 0..=0)
        .await
        .expect("free");
    let ids = SnowflakeIds::with_clock(instance, UidConfig::production(), Arc::new(Stopped)).expect("valid");
    ids.snowflakes(4096).expect("one millisecond's worth");
    let error = ids.snowflake().expect_err("the clock stands still");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_retryable());
    // Claims ahead of the clock stop at the bound, and are no reason to suspect the clock.
    let refused = (0..12)
        .map(|_| ids.snowflakes(4096).expect_err("too far ahead"))
        .last();
    assert_eq!(
        refused.expect("twelve errors").kind(),
        ErrorKind::ResourceExhausted
    );
}

/// ID: a million over 8 threads and 4 instances, all different, each thread's increasing.
#[tokio::test]
async fn a_million_ids_over_eight_threads_and_four_instances_are_all_different() {
    let coordinator = MemoryCoordinator::new();
    let mut instances = Vec::new();
    for _ in 0..4 {
        instances.push(Arc::new(connected(&coordinator.connect()).await));
    }
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let ids = Arc::clone(&instances[n % 4]);
            std::thread::spawn(move || {
                let mut made = Vec::with_capacity(125_000);
                while made.len() < 124_000 {
                    made.push(ids.snowflake().expect("made"));
                }
                made.extend(ids.snowflakes(1000).expect("made"));
                made
            })
        })
        .collect();
    let mut all = HashSet::with_capacity(1_000_000);
    for thread in threads {
        let made = thread.join().expect("no panic");
        assert!(made.is_sorted_by(|one, next| one < next));
        all.extend(made);
    }
    assert_eq!(all.len(), 1_000_000);
    assert!(all.iter().all(|id| *id > 0));
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_makes_no_more_ids() {
    let coordinator = MemoryCoordinator::new();
    let ids = connected(&coordinator).await;
    ids.snowflake().expect("leased");
    tokio::time::sleep(Duration::from_secs(120)).await;
    ids.snowflake().expect("renewed");

    coordinator.faults().disconnect();
    tokio::time::advance(Duration::from_secs(31)).await;
    let error = ids.snowflake().expect_err("the lease may be another's by now");
    assert_eq!(error.kind(), ErrorKind::LeaseLost);
    assert_eq!(ids.snowflakes(2).expect_err("lost").kind(), ErrorKind::LeaseLost);
    coordinator.faults().reconnect();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        ids.snowflake().expect_err("it stays lost").kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(
        ids.close().await.expect_err("nothing to give back").kind(),
        ErrorKind::LeaseLost
    );
}

#[tokio::test(start_paused = true)]
async fn closing_gives_the_number_back_after_its_quarantine() {
    let coordinator = MemoryCoordinator::new();
    let config = UidConfig::production().with_max_instance(0);
    let connect = || SnowflakeIds::connect(Arc::new(coordinator.clone()), "tests", config.clone());
    let ids = connect().await.expect("free");
    assert_eq!(
        connect().await.expect_err("taken").kind(),
        ErrorKind::ResourceExhausted
    );
    ids.close().await.expect("ours");
    ids.close().await.expect("again");
    assert_eq!(ids.snowflake().expect_err("closed").kind(), ErrorKind::Closed);
    let quarantine = connect()
        .await
        .expect_err("it rests")
        .retry_after()
        .expect("says how long");
    tokio::time::sleep(quarantine).await;
    let again = connect().await.expect("rested");
    drop(again);
    tokio::time::sleep(quarantine + Duration::from_millis(10)).await;
    connect().await.expect("dropping gives it back too");
}

#[tokio::test]
async fn gochat_ids_have_twitters_epoch_and_no_instance_0() {
    let config = UidConfig::development().with_compat(Compat::GoChat);
    assert_eq!(config.instances(), 1..=1023);
    let clock = ManualClock::new();
    let ids = ids_at(&clock, config).await;
    let id = ids.snowflake().expect("made");
    let millis = START.as_millis() as i64 - 1_288_834_974_657;
    assert_eq!(id, millis << 22 | 5 << 12);
    assert_eq!(time_of(&ids, id), START);
}

#[tokio::test]
async fn bad_configurations_and_arguments_are_refused() {
    let bad = UidConfig::development()
        .with_max_instance(1024)
        .with_max_wait(Duration::ZERO)
        .with_borrow_ahead(Duration::from_secs(60));
    let error = bad.check().expect_err("refused");
    for path in ["max_instance", "max_wait", "borrow_ahead"] {
        assert!(error.message().contains(path), "{error}");
    }
    let coordinator = MemoryCoordinator::new();
    let instance = coordinator
        .acquire_instance_id("tests", 2000..=2000)
        .await
        .expect("free");
    let error = SnowflakeIds::new(instance, UidConfig::development()).expect_err("11 bits");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);

    let ids = connected(&coordinator).await;
    assert!(ids.snowflakes(0).expect("nothing asked").is_empty());
    assert_eq!(
        ids.snowflakes(4097).expect_err("too many").kind(),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        ids.parse_snowflake(-1).expect_err("negative").kind(),
        ErrorKind::InvalidArgument
    );
}

#[tokio::test]
async fn uuids_are_version_7_increase_and_say_the_time() {
    let ids = connected(&MemoryCoordinator::new()).await;
    let before = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis() as u64;
    let made: Vec<_> = (0..10_000).map(|_| ids.uuid()).collect();
    assert!(made.is_sorted_by(|one, next| one < next));
    for uuid in [&made[0], &made[9999]] {
        assert_eq!(uuid.get_version_num(), 7);
        assert!(is_valid_uuid(&uuid.to_string()));
        let (seconds, nanos) = uuid.get_timestamp().expect("it has one").to_unix();
        assert!((seconds * 1000 + u64::from(nanos) / 1_000_000).abs_diff(before) < 60_000);
    }
}

#[test]
fn only_the_canonical_shape_of_a_uuid_is_valid() {
    for (text, valid) in [
        ("018f4e5c-6a1b-7c3d-8e9f-0123456789ab", true),
        ("018F4E5C-6A1B-7C3D-8E9F-0123456789AB", true),
        ("00000000-0000-0000-0000-000000000000", true),
        ("", false),
        ("018f4e5c6a1b7c3d8e9f0123456789ab", false),
        ("{018f4e5c-6a1b-7c3d-8e9f-0123456789ab}", false),
        ("urn:uuid:018f4e5c-6a1b-7c3d-8e9f-0123456789ab", false),
        ("018f4e5c-6a1b-7c3d-8e9f-0123456789ag", false),
        ("018f4e5c-6a1b-7c3d-8e9f-0123456789a", false),
        ("018f4e5c-6a1b-7c3d-8e9f0-123456789ab", false),
        (" 18f4e5c-6a1b-7c3d-8e9f-0123456789ab", false),
        ("018f4e5c-6a1b-7c3d-8e9f-0123456789é", false),
    ] {
        assert_eq!(is_valid_uuid(text), valid, "{text:?}");
    }
}

proptest! {
    #[test]
    fn the_sortable_text_round_trips_and_sorts(one in 0..=i64::MAX, other in 0..=i64::MAX) {
        let text = |id| snowflake_to_text(id).expect("positive");
        prop_assert_eq!(snowflake_from_text(&text(one)).expect("ours"), one);
        prop_assert_eq!(text(one).cmp(&text(other)), one.cmp(&other));
    }

    #[test]
    fn no_text_panics_and_what_is_accepted_is_canonical(text in ".{0,16}") {
        if let Ok(id) = snowflake_from_text(&text) {
            prop_assert_eq!(snowflake_to_text(id).expect("positive"), text);
        }
    }
}

#[test]
fn texts_beyond_the_largest_id_are_refused() {
    let largest = snowflake_to_text(i64::MAX).expect("positive");
    assert_eq!(largest, "7ZZZZZZZZZZZZ");
    for text in [
        "8000000000000",
        "ZZZZZZZZZZZZZ",
        "7zzzzzzzzzzzz",
        "000000000000",
        "00000000000O0",
    ] {
        assert!(snowflake_from_text(text).is_err(), "{text}");
    }
    assert!(snowflake_to_text(-1).is_err());
}
