//! Retry, breaker, and the standard stack with its configuration.

use std::sync::Arc;
use std::time::Duration;

use infra_core::breaker::{self, BreakerProvider, Breakers, Force, State};
use infra_core::config::Validate;
use infra_core::intercept::{
    CircuitBreaking, Fault, Faults, Recorder, Retrying, Stack, StackConfig, StandardStack, Timeout,
};
use infra_core::retry::{Backoff, Budget, BudgetPolicy, Jitter, Policy};
use infra_core::{Error, ErrorKind, Retry};
use tokio::time::Instant;

use crate::support::{Puppet, Step, Things, Value, unavailable};

const MS: Duration = Duration::from_millis(1);

fn policy() -> Policy {
    Policy::development()
        .with_max_attempts(3)
        .with_backoff(Backoff::Fixed { delay: 10 * MS })
        .with_jitter(Jitter::None)
        .without_total_deadline()
}

fn failures(count: usize) -> Vec<Step> {
    (0..count).map(|_| Step::Err(unavailable())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_retry_waits_between_attempts_and_stops_at_the_first_success() {
    let recorder = Arc::new(Recorder::new());
    let stack = Stack::new()
        .with_shared(recorder.clone())
        .with(Retrying::new(policy()));
    let begin = Instant::now();
    assert_eq!(
        stack
            .wrap_named("p", Puppet::new(failures(2)))
            .read("k")
            .await
            .unwrap(),
        3
    );
    assert_eq!(begin.elapsed(), 20 * MS);
    assert_eq!(recorder.calls()[0].attempt, 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_error_tells_the_attempts_and_is_not_repeated_again_outside() {
    let puppet = Puppet::new(failures(10));
    let inner = Stack::new()
        .with(Retrying::new(policy()))
        .wrap_named("p", puppet.clone());
    let outer = Stack::new().with(Retrying::new(policy())).wrap_named("p", inner);
    let error = outer.read("k").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Exhausted)
    );
    assert!(
        error.message().contains("3 attempts") && error.message().contains("told to fail"),
        "{error}"
    );
    assert_eq!(puppet.calls(), 3, "not nine");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_is_not_begun_again() {
    let over = || Step::Err(Error::new(ErrorKind::Timeout, "still held").without_effect());
    let puppet = Puppet::new([over(), Step::Err(unavailable()), over(), over()]);
    let things = Stack::new()
        .with(Retrying::new(policy()))
        .wrap_named("p", puppet.clone());
    assert_eq!(things.wait("k").await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(puppet.calls(), 1, "the caller waited as long as it wanted to");
    assert_eq!(things.wait("k").await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(puppet.calls(), 3, "other errors are repeated");
    assert_eq!(
        things.read("k").await.unwrap(),
        5,
        "what does not wait is repeated after a timeout"
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_repeated_passes_through_unchanged() {
    let conflict = || Error::new(ErrorKind::Conflict, "stale");
    let puppet = Puppet::new([
        Step::Err(unavailable()),
        Step::Err(conflict()),
        Step::Err(unavailable()),
    ]);
    let things = Stack::new()
        .with(Retrying::new(policy()))
        .wrap_named("p", puppet.clone());
    let error = things.write("k", Value::default()).await.unwrap_err();
    assert_eq!(
        format!("{error:?}"),
        format!("{:?}", unavailable()),
        "not idempotent"
    );
    let error = things.read("k").await.unwrap_err();
    assert_eq!(format!("{error:?}"), format!("{:?}", conflict()), "not retryable");
    assert!(things.hand_over(Value::default()).await.is_err());
    assert_eq!(puppet.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_total_deadline_bounds_attempts_that_hang_but_not_those_that_wait_by_design() {
    let stack = Stack::new().with(Retrying::new(policy().with_total_deadline(100 * MS)));
    let begin = Instant::now();
    let error = stack
        .wrap_named("p", Puppet::new([Step::Hang]))
        .read("k")
        .await
        .unwrap_err();
    assert_eq!((begin.elapsed(), error.kind()), (100 * MS, ErrorKind::Timeout));
    assert_eq!(error.retry(), Retry::Exhausted);
    let waiting = stack.wrap_named("p", Puppet::new([Step::Sleep(300 * MS)]));
    assert!(waiting.wait("k").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_inside_bounds_each_attempt() {
    let puppet = Puppet::new([Step::Hang, Step::Hang]);
    let stack = Stack::new()
        .with(Retrying::new(policy()))
        .with(Timeout::new(30 * MS));
    let begin = Instant::now();
    assert_eq!(stack.wrap_named("p", puppet).read("k").await.unwrap(), 3);
    assert_eq!(begin.elapsed(), 80 * MS);
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_stops_repetitions_for_all_who_share_it() {
    let budget = Budget::new(&BudgetPolicy::default().with_min_per_second(0).with_ratio(0.5));
    let retrying = || Retrying::new(policy()).with_budget(&budget);
    let puppet = Puppet::new(failures(100));
    let things = Stack::new().with(retrying()).wrap_named("p", puppet.clone());
    for _ in 0..10 {
        assert!(things.read("k").await.is_err());
    }
    assert_eq!(puppet.calls(), 15, "ten calls and one repetition for two of them");
    assert_eq!(budget.available(), 0);
}

fn breakers(failure_threshold: u32) -> Arc<Breakers> {
    let mut config = breaker::BreakerConfig::production();
    config.default_policy = breaker::Policy::new(failure_threshold, 1, Duration::from_secs(10));
    Arc::new(Breakers::new(config).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_breaker_opens_refuses_probes_and_closes() {
    let provider = breakers(3);
    let puppet = Puppet::new(failures(3));
    let stack = Stack::new().with(CircuitBreaking::new(provider.clone()));
    let things = stack.wrap_named("puppet", puppet.clone());
    let breaker = provider.breaker("things.puppet");
    for _ in 0..3 {
        assert_eq!(things.read("k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(breaker.state(), State::Open);
    let refusal = things.write("k", Value::default()).await.unwrap_err();
    assert_eq!(
        (refusal.kind(), refusal.had_no_effect()),
        (ErrorKind::CircuitOpen, true)
    );
    assert_eq!(refusal.component(), "breaker");
    assert!(refusal.message().contains("things.puppet"), "{refusal}");
    assert!(matches!(refusal.retry(), Retry::After(_)));
    assert_eq!(puppet.calls(), 3);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(things.read("k").await.is_ok());
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_place_back_and_a_hanging_one_is_bounded() {
    let provider = breakers(1);
    let puppet = Puppet::new([Step::Err(unavailable()), Step::Hang, Step::Hang]);
    let things = Stack::new()
        .with(CircuitBreaking::new(provider.clone()))
        .wrap_named("p", puppet.clone());
    assert!(things.read("k").await.is_err());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(
        tokio::time::timeout(MS, things.read("k")).await.is_err(),
        "the probe is dropped"
    );
    let begin = Instant::now();
    assert_eq!(
        things.read("k").await.unwrap_err().kind(),
        ErrorKind::Timeout,
        "the place was free again"
    );
    assert_eq!(begin.elapsed(), breaker::Policy::default().probe_timeout);
    assert_eq!(provider.breaker("things.p").state(), State::Open);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(things.read("k").await.is_ok());
}

#[tokio::test]
async fn the_callers_own_faults_do_not_open_a_breaker() {
    let provider = breakers(1);
    let steps = (0..5).map(|_| Step::Err(Error::new(ErrorKind::Conflict, "stale")));
    let things = Stack::new()
        .with(CircuitBreaking::new(provider.clone()))
        .wrap_named("p", Puppet::new(steps));
    for _ in 0..5 {
        assert_eq!(things.read("k").await.unwrap_err().kind(), ErrorKind::Conflict);
    }
    assert_eq!(provider.breaker("things.p").state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_does_not_open_a_breaker() {
    let provider = breakers(1);
    let over = || Error::new(ErrorKind::Timeout, "still held");
    let things = Stack::new()
        .with(CircuitBreaking::new(provider.clone()))
        .wrap_named("p", Puppet::new([Step::Err(over()), Step::Err(over())]));
    assert_eq!(things.wait("k").await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(provider.breaker("things.p").state(), State::Closed);
    assert_eq!(things.read("k").await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(
        provider.breaker("things.p").state(),
        State::Open,
        "what does not wait was too slow"
    );
}

#[tokio::test(start_paused = true)]
async fn calls_after_shutdown_do_not_open_a_breaker() {
    let provider = breakers(1);
    let closed = || Step::Err(Error::closed("the client"));
    let things = Stack::new()
        .with(CircuitBreaking::new(provider.clone()))
        .wrap_named("p", Puppet::new([closed(), closed()]));
    for _ in 0..2 {
        assert_eq!(things.read("k").await.unwrap_err().kind(), ErrorKind::Closed);
    }
    assert_eq!(provider.breaker("things.p").state(), State::Closed);
}

#[tokio::test]
async fn breakers_can_be_one_for_each_method() {
    let provider = breakers(1);
    let things = Stack::new()
        .with(CircuitBreaking::new(provider.clone()).per_method())
        .wrap_named("p", Puppet::new([]));
    provider.breaker("things.p.read").force(Force::Open);
    assert_eq!(things.read("k").await.unwrap_err().kind(), ErrorKind::CircuitOpen);
    assert!(things.wait("k").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_standard_stack_is_transparent_and_copes_with_faults() {
    let faults = Arc::new(Faults::seeded(1));
    let stack = StandardStack::new(
        StackConfig::production()
            .with_retry(policy())
            .with_timeout(50 * MS),
    )
    .with_breakers(breakers(3))
    .with_faults(faults.clone())
    .build()
    .unwrap();
    let puppet = Puppet::new([]);
    let things = stack.wrap_named("p", puppet.clone());
    faults.script("things.*", [Fault::Hang, Fault::DropReply, Fault::Ok]);
    assert_eq!(
        things.read("k").await.unwrap(),
        2,
        "hung, lost its answer, answered"
    );
    faults.script(
        "things.write",
        [Fault::Err(ErrorKind::Unavailable), Fault::DropReply],
    );
    let error = things.write("k", Value::default()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::OutcomeUnknown,
        "repeated while it certainly had no effect, and not after"
    );
    assert_eq!((puppet.calls(), faults.remaining()), (3, 0));
    faults.clear();
    faults.always("*", Fault::Err(ErrorKind::Unavailable));
    // With the write, three failures in a row.
    for _ in 0..2 {
        assert_eq!(things.read("k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    let begin = Instant::now();
    assert_eq!(things.read("k").await.unwrap_err().kind(), ErrorKind::CircuitOpen);
    assert_eq!(
        begin.elapsed(),
        Duration::ZERO,
        "an open breaker is not waited for"
    );
}

#[test]
fn what_is_left_out_of_the_configuration_is_left_out_of_the_stack() {
    let config = StackConfig::development().without_concurrency().without_retry();
    let stack = StandardStack::new(config).build().unwrap();
    assert_eq!(format!("{stack:?}"), r#"["trace", "log", "timeout"]"#);
}

#[test]
fn a_configuration_reports_all_its_problems_and_round_trips() {
    let config: StackConfig = serde_json::from_str(
        r#"{
            "timeout": "0s",
            "concurrency": { "limit": 4, "queue": 2, "max_wait": "0s" },
            "retry": { "max_attempts": 0 }
        }"#,
    )
    .unwrap();
    let error = StandardStack::new(config).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    for path in ["timeout", "concurrency.max_wait", "retry.max_attempts"] {
        assert!(error.message().contains(path), "{path} is missing in {error}");
    }
    assert!(serde_json::from_str::<StackConfig>(r#"{ "timeuot": "1s" }"#).is_err());

    let text = serde_json::to_string(&StackConfig::production()).unwrap();
    let read: StackConfig = serde_json::from_str(&text).unwrap();
    read.check().unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}
