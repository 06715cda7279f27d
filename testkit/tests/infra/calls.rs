//! Assertions on calls: those that hold, and what the others say.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use infra_core::cache::{Cache, KeyValue};
use infra_core::intercept::{Fault, Recorder, Stack};
use infra_core::{ErrorKind, Ttl};
use infra_memory::MemoryCache;
use infra_testkit::{Calls, TestInfra};
use tokio::time::Instant;

/// What an assertion says that does not hold.
fn complaint(assertion: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(assertion)).expect_err("it should not hold");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(_) => panic!("a panic without text"),
    }
}

async fn some_calls() -> TestInfra {
    let infra = TestInfra::new();
    infra.faults().script(
        "cache.get",
        [
            Fault::Ok,
            Fault::Delay(Duration::from_millis(30)),
            Fault::Err(ErrorKind::Timeout),
        ],
    );
    let cache = infra.cache();
    cache.set("a", "1".into(), Ttl::Never).await.expect("well");
    cache.get("a").await.expect("well");
    cache.get("b").await.expect("late");
    cache.get("b").await.expect_err("scripted");
    cache.delete(&["a"]).await.expect("well");
    infra
}

#[tokio::test(start_paused = true)]
async fn calls_are_narrowed_and_asserted() {
    let began = Instant::now();
    let infra = some_calls().await;
    let calls = infra.calls();
    calls
        .assert_count(5)
        .assert_order(["cache.set", "cache.get", "cache.get", "cache.get", "cache.delete"])
        .assert_sequence(["cache.set", "cache.get", "cache.delete"])
        .assert_subjects(["a", "a", "b", "b", ""])
        .assert_at_least(5);
    calls.of("cache.*").assert_count(5);
    calls.of("cac.*").assert_never();
    let gets = calls.of("cache.get");
    gets.assert_outcomes(["ok", "ok", "timeout"])
        .assert_attempts([1, 1, 1])
        .assert_within(Duration::from_millis(30));
    gets.with_subject("a").assert_once();
    gets.failed_with(ErrorKind::Timeout).assert_subjects(["b"]);
    gets.with_outcome("ok")
        .with_subject("b")
        .assert_no_faster_than(Duration::from_millis(30));
    calls
        .between("cache.set", "cache.delete")
        .assert_order(["cache.get"; 3]);
    calls.between("cache.delete", "cache.set").assert_never();
    calls.until(began).assert_never();
    let later = began + Duration::from_millis(30);
    calls.since(later).assert_order(["cache.get", "cache.delete"]);
}

#[tokio::test(start_paused = true)]
async fn a_complaint_lists_the_calls_and_marks_those_it_is_about() {
    let infra = some_calls().await;
    let calls = infra.calls();
    let said = complaint(|| {
        calls.of("cache.get").with_subject("b").assert_count(1);
    });
    let expected = r#"calls of cache.get with subject "b": expected 1 call, got 2 calls
  #   began  took  method        attempt  outcome  subject
   1  +0ns   0ns   cache.set     1        ok       "a"
   2  +0ns   0ns   cache.get     1        ok       "a"
  >3  +0ns   30ms  cache.get     1        ok       "b"
  >4  +30ms  0ns   cache.get     1        timeout  "b"
   5  +30ms  0ns   cache.delete  1        ok
"#;
    // The clock of the runtime rounds up to a millisecond.
    assert_eq!(said.replace("31ms", "30ms"), expected);
}

#[tokio::test(start_paused = true)]
async fn every_assertion_can_fail() {
    let infra = some_calls().await;
    let calls = infra.calls();
    let gets = calls.of("cache.get");
    let milli = Duration::from_millis(1);
    let complaints: [(&str, &dyn Fn()); 11] = [
        ("expected at least 4 calls, got 3 calls", &|| {
            gets.assert_at_least(4);
        }),
        ("expected 1 call, got 3 calls", &|| {
            gets.assert_once();
        }),
        ("expected no call, got 3 calls", &|| {
            gets.assert_never();
        }),
        ("in this order", &|| {
            gets.assert_order(["cache.get"]);
        }),
        (r#""cache.set" did not come after those before it"#, &|| {
            calls.assert_sequence(["cache.get", "cache.set"]);
        }),
        ("with these subjects", &|| {
            gets.assert_subjects(["a", "b"]);
        }),
        ("with these outcomes", &|| {
            gets.assert_outcomes(["ok"; 3]);
        }),
        ("with these attempts", &|| {
            gets.assert_attempts([1, 2, 3]);
        }),
        ("but 1 call took longer", &|| {
            gets.assert_within(milli);
        }),
        ("but 2 calls took less", &|| {
            gets.assert_no_faster_than(milli);
        }),
        ("nothing was called", &|| {
            Calls::from(&Recorder::new()).assert_count(1);
        }),
    ];
    for (expected, assertion) in complaints {
        let said = complaint(assertion);
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_recorder_forgot_cannot_be_asserted() {
    let recorder = Arc::new(Recorder::with_capacity(1));
    let cache: Arc<dyn Cache> = Arc::new(MemoryCache::new());
    let cache = Stack::new().with_shared(recorder.clone()).wrap(cache);
    for key in ["a", "b"] {
        cache.get(key).await.expect("well");
    }
    let said = complaint(|| {
        Calls::from(&*recorder).of("cache.set").assert_never();
    });
    assert!(said.contains("forgot the 1 oldest"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_cut() {
    let infra = TestInfra::new();
    for _ in 0..70 {
        infra.cache().get("a").await.expect("well");
    }
    let shown = infra.calls().to_string();
    assert!(shown.ends_with("  … and 10 more\n"), "{shown}");
    assert_eq!(shown.lines().count(), 62);
}
