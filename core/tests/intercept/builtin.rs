//! The concurrency limit, the faults, the recorder and the check of a stack's order.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use infra_core::ErrorKind;
use infra_core::intercept::{ConcurrencyLimit, Fault, Faults, Interceptor, Recorder, Role, Stack, Timeout};

use crate::support::{Puppet, Step, Things, Value};

const MS: Duration = Duration::from_millis(1);

fn limit(limit: usize, queue: usize) -> Arc<ConcurrencyLimit> {
    Arc::new(ConcurrencyLimit::new(NonZeroUsize::new(limit).unwrap()).with_queue(queue, 100 * MS))
}

#[tokio::test(start_paused = true)]
async fn the_limit_holds_and_the_queue_is_bounded_in_length_and_time() {
    let limit = limit(2, 2);
    let puppet = Puppet::new([Step::Sleep(50 * MS), Step::Sleep(500 * MS), Step::Sleep(500 * MS)]);
    let things = Stack::new()
        .with_shared(limit.clone())
        .wrap_named("p", puppet.clone());
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let things = Arc::clone(&things);
            tokio::spawn(async move { things.read("k").await })
        })
        .collect();
    tokio::time::sleep(MS).await;
    assert_eq!((puppet.alive(), limit.running(), limit.queued()), (2, 2, 2));
    let mut outcomes = Vec::new();
    for call in calls {
        outcomes.push(
            call.await
                .unwrap()
                .map_err(|error| (error.kind(), error.had_no_effect())),
        );
    }
    let refused = Err((ErrorKind::ResourceExhausted, true));
    assert_eq!(
        outcomes,
        [Ok(1), Ok(2), Ok(3), refused, refused],
        "the fourth waited too long, the fifth found no room"
    );
    assert_eq!((limit.running(), limit.queued()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_place_is_lost_or_doubled_under_contention_and_cancellation() {
    let limit = Arc::new(ConcurrencyLimit::new(NonZeroUsize::new(3).unwrap()).with_queue(1000, 20_000 * MS));
    let puppet = Puppet::new((0..4000).map(|number| Step::Yield(number % 5)));
    let most = Arc::new(AtomicUsize::new(0));
    let things = Stack::new()
        .with_shared(limit.clone())
        .wrap_named("p", puppet.clone());
    let workers: Vec<_> = (0..16)
        .map(|worker| {
            let (things, puppet, most) = (Arc::clone(&things), puppet.clone(), Arc::clone(&most));
            tokio::spawn(async move {
                for call in 0..200 {
                    if (worker + call) % 7 == 0 {
                        // Given up at the first poll that is pending, in the queue or inside.
                        let _ = things.read("k").now_or_never();
                    } else {
                        things.read("k").await.unwrap();
                    }
                    most.fetch_max(puppet.alive(), Ordering::Relaxed);
                }
            })
        })
        .collect();
    for worker in workers {
        tokio::time::timeout(Duration::from_secs(30), worker)
            .await
            .expect("nobody waits for ever")
            .unwrap();
    }
    assert!(most.load(Ordering::Relaxed) <= 3);
    assert_eq!((limit.running(), limit.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn cancelled_calls_give_their_places_back() {
    let limit = limit(1, 1);
    let things = Stack::new()
        .with_shared(limit.clone())
        .wrap_named("p", Puppet::new([Step::Hang]));
    let spawn = || {
        let things = Arc::clone(&things);
        tokio::spawn(async move { things.read("k").await })
    };
    let (running, queued) = (spawn(), spawn());
    tokio::time::sleep(MS).await;
    assert_eq!((limit.running(), limit.queued()), (1, 1));
    queued.abort();
    assert!(queued.await.unwrap_err().is_cancelled());
    assert_eq!((limit.running(), limit.queued()), (1, 0));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    assert_eq!((limit.running(), limit.queued()), (0, 0));
    assert!(things.read("k").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn scripted_faults_are_given_out_call_by_call() {
    let faults = Arc::new(Faults::new());
    let recorder = Arc::new(Recorder::new());
    let puppet = Puppet::new([]);
    let things = Stack::new()
        .with_shared(recorder.clone())
        .with(Timeout::new(20 * MS))
        .with_shared(faults.clone())
        .wrap_named("p", puppet.clone());
    faults.script(
        "things.write",
        [
            Fault::Ok,
            Fault::Err(ErrorKind::Unavailable),
            Fault::Delay(10 * MS),
            Fault::Hang,
            Fault::DropReply,
            Fault::Duplicate,
        ],
    );
    let mut seen = Vec::new();
    for _ in 0..7 {
        let calls = puppet.calls();
        let result = things.write("k", Value::default()).await;
        seen.push((
            result.map_err(|error| (error.kind(), error.had_no_effect())),
            puppet.calls() - calls,
        ));
    }
    let expected = [
        (Ok(1), 1),
        (Err((ErrorKind::Unavailable, true)), 0),
        (Ok(2), 1),
        (Err((ErrorKind::Timeout, true)), 0),
        (Err((ErrorKind::OutcomeUnknown, false)), 1),
        (Ok(5), 2),
        (Ok(6), 1),
    ];
    assert_eq!(seen, expected);
    assert_eq!(faults.remaining(), 0);
    assert_eq!(recorder.of("things.write")[2].elapsed, 10 * MS);
}

#[tokio::test]
async fn scripts_choose_by_method_component_and_subject() {
    let faults = Arc::new(Faults::new());
    let things = Stack::new()
        .with_shared(faults.clone())
        .wrap_named("p", Puppet::new([]));
    faults.script_for("things.read", "bad", [Fault::Err(ErrorKind::Internal)]);
    faults.script("other.*", [Fault::Err(ErrorKind::Internal)]);
    assert!(things.read("good").await.is_ok());
    assert!(things.read("bad").await.is_err());
    assert!(things.read("bad").await.is_ok());
    assert_eq!(faults.remaining(), 1, "another component's");
    faults.always("things.*", Fault::Err(ErrorKind::Unavailable));
    for _ in 0..3 {
        assert!(things.wait("k").await.is_err());
    }
    faults.clear();
    assert!(things.wait("k").await.is_ok());
    faults.always(
        "*",
        Fault::Fail(infra_core::Error::new(ErrorKind::RateLimited, "slow down")),
    );
    assert_eq!(things.read("k").await.unwrap_err().kind(), ErrorKind::RateLimited);
}

#[tokio::test]
async fn faults_by_chance_repeat_with_their_seed() {
    async fn run(seed: u64) -> Vec<bool> {
        let faults = Faults::seeded(seed);
        faults.by_chance(0.3, Fault::Err(ErrorKind::Unavailable));
        assert_eq!(faults.seed(), seed);
        let things = Stack::new().with(faults).wrap_named("p", Puppet::new([]));
        let mut failed = Vec::new();
        for _ in 0..1000 {
            failed.push(things.read("k").await.is_err());
        }
        failed
    }
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    let failures = first.iter().filter(|failed| **failed).count();
    assert!((200..400).contains(&failures), "{failures}");
}

#[tokio::test]
async fn the_recorder_is_bounded() {
    let recorder = Arc::new(Recorder::with_capacity(2));
    let things = Stack::new()
        .with_shared(recorder.clone())
        .wrap_named("p", Puppet::new([]));
    for key in ["a", "b", "c"] {
        things.read(key).await.unwrap();
    }
    let subjects: Vec<_> = recorder
        .calls()
        .into_iter()
        .map(|call| call.subject.unwrap())
        .collect();
    assert_eq!(
        (subjects, recorder.forgotten()),
        (vec!["b".to_owned(), "c".to_owned()], 1)
    );
    recorder.clear();
    assert_eq!(recorder.count("things.read"), 0);
}

#[derive(Debug)]
struct Named(&'static str, Role);

impl Interceptor for Named {
    fn name(&self) -> &'static str {
        self.0
    }
    fn role(&self) -> Role {
        self.1
    }
}

#[test]
fn traps_of_order_are_named() {
    let timeout = || Named("timeout", Role::Timeout);
    let retry = || Named("retry", Role::Retry);
    let breaker = || Named("breaker", Role::Breaker);
    let limit = || Named("limit", Role::Limit);
    let faults = || Named("faults", Role::Faults);
    let good = [
        Stack::new(),
        Stack::new()
            .with(limit())
            .with(breaker())
            .with(retry())
            .with(timeout())
            .with(faults()),
        Stack::new().with(timeout()).with(retry()).with(timeout()),
        Stack::new().with(timeout()),
    ];
    for stack in good {
        stack.validate().unwrap();
    }
    let bad = [
        (
            Stack::new().with(timeout()).with(retry()),
            ["`timeout` (place 1)", "`retry` (place 2)"],
        ),
        (
            Stack::new().with(timeout()).with(timeout()).with(retry()),
            ["`timeout` (place 1)", "`retry` (place 3)"],
        ),
        (
            Stack::new().with(retry()).with(breaker()),
            ["`retry` (place 1)", "`breaker` (place 2)"],
        ),
        (
            Stack::new().with(retry()).with(timeout()).with(limit()),
            ["`retry` (place 1)", "`limit` (place 3)"],
        ),
        (
            Stack::new().with(breaker()).with(limit()),
            ["`breaker` (place 1)", "`limit` (place 2)"],
        ),
        (
            Stack::new().with(retry()).with(retry()),
            ["`retry` (place 1)", "`retry` (place 2)"],
        ),
        (
            Stack::new().with(faults()).with(timeout()),
            ["`faults` (place 1)", "`timeout` (place 2)"],
        ),
    ];
    for (stack, named) in bad {
        let error = stack.validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(named.iter().all(|name| error.message().contains(name)), "{error}");
    }
}
