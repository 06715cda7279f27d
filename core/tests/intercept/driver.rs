//! Order, refusal, repetition, bounds and cost of the driver.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use infra_core::intercept::{Exit, Stack, Timeout};
use infra_core::{Error, ErrorKind, Failure as _, Retry};
use tokio::time::Instant;

use crate::support::{Answer, Journal, Probe, Puppet, Step, Things, Value, entries, three, unavailable};

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn the_first_interceptor_is_the_outermost() {
    let journal = Journal::default();
    let things = three(&journal).wrap_named("puppet", Puppet::new([]));
    assert_eq!(things.read("k").await.unwrap(), 1);
    assert_eq!(
        entries(&journal),
        ["> a 1", "> b 1", "> c 1", "< c ok", "< b ok", "< a ok"]
    );
}

#[tokio::test]
async fn an_error_passes_through_unchanged() {
    let journal = Journal::default();
    let error = Error::new(ErrorKind::Conflict, "version 3, not 2")
        .at("inner", "other", "place")
        .with_retry(Retry::After(MS))
        .with_source(std::io::Error::other("driver"));
    let things = three(&journal).wrap_named("puppet", Puppet::new([Step::Err(error.clone())]));
    let seen = things.read("k").await.unwrap_err();
    assert_eq!(format!("{seen:?}"), format!("{error:?}"));
    assert!(seen.downcast_source::<std::io::Error>().is_some());
}

#[tokio::test]
async fn a_refusal_stops_the_way_in_and_says_where_it_happened() {
    let journal = Journal::default();
    let puppet = Puppet::new([]);
    let stack = Stack::new()
        .with(Probe::new("a", &journal))
        .with(Probe::new("b", &journal).entering([Answer::Refuse(unavailable())]))
        .with(Probe::new("c", &journal));
    let error = stack
        .wrap_named("puppet", puppet.clone())
        .write("k", Value::default())
        .await
        .unwrap_err();
    assert_eq!(entries(&journal), ["> a 1", "> b 1", "< a unavailable"]);
    assert_eq!(
        error.to_string(),
        "things write on puppet: told to fail (unavailable)"
    );
    assert_eq!(puppet.calls(), 0);
}

#[tokio::test]
async fn waiting_on_the_way_in_ends_in_admission_or_refusal() {
    let journal = Journal::default();
    let answers = [
        Answer::Wait(3, Ok(7)),
        Answer::Wait(2, Err(unavailable())),
        Answer::Wait(0, Ok(1)),
    ];
    let stack = Stack::new()
        .with(Probe::new("a", &journal))
        .with(Probe::new("b", &journal).entering(answers))
        .with(Probe::new("c", &journal));
    let things = stack.wrap_named("puppet", Puppet::new([]));
    assert!(things.read("k").await.is_ok());
    assert_eq!(
        entries(&journal),
        ["> a 1", "~ b 1", "> c 1", "< c ok", "< b ok", "< a ok"]
    );
    assert!(things.read("k").await.is_err());
    assert_eq!(entries(&journal), ["> a 1", "~ b 1", "< a unavailable"]);
    assert!(things.read("k").await.is_ok());
    assert_eq!(entries(&journal).len(), 6);
}

fn repeating(journal: &Journal, exits: impl IntoIterator<Item = Exit>) -> Stack {
    Stack::new()
        .with(Probe::new("a", journal))
        .with(Probe::new("retry", journal).exiting(exits))
        .with(Probe::new("c", journal))
}

fn after(delay: Duration) -> Exit {
    Exit::Repeat { after: delay }
}

#[tokio::test(start_paused = true)]
async fn a_repetition_goes_down_again_from_the_layer_that_asked() {
    let journal = Journal::default();
    let puppet = Puppet::new([Step::Err(unavailable()), Step::Err(unavailable())]);
    let stack = repeating(&journal, [after(20 * MS), after(Duration::ZERO)]);
    let begin = Instant::now();
    assert_eq!(
        stack
            .wrap_named("puppet", puppet.clone())
            .read("k")
            .await
            .unwrap(),
        3
    );
    assert_eq!(begin.elapsed(), 20 * MS);
    let expected = [
        "> a 1",
        "> retry 1",
        "> c 1",
        "< c unavailable",
        "< retry unavailable",
        "> c 2",
        "< c unavailable",
        "< retry unavailable",
        "> c 3",
        "< c ok",
        "< retry ok",
        "< a ok",
    ];
    assert_eq!(entries(&journal), expected);
}

#[tokio::test]
async fn what_is_not_idempotent_is_repeated_only_when_it_certainly_had_no_effect() {
    let journal = Journal::default();
    let value = Value::default();
    let clones = Arc::clone(&value.0);
    let puppet = Puppet::new([Step::Err(unavailable())]);
    let things = repeating(&journal, [after(Duration::ZERO)]).wrap_named("puppet", puppet.clone());
    assert!(things.write("k", value.clone()).await.is_err());
    assert_eq!(puppet.calls(), 1, "it may have been written");

    let puppet = Puppet::new([Step::Err(unavailable().without_effect())]);
    let things = repeating(&journal, [after(Duration::ZERO)]).wrap_named("puppet", puppet.clone());
    assert_eq!(things.write("k", value).await.unwrap(), 2);
    assert!(clones.load(Ordering::Relaxed) >= 2);

    let puppet = Puppet::new([Step::Err(unavailable().without_effect())]);
    let things = repeating(&journal, [after(Duration::ZERO)]).wrap_named("puppet", puppet.clone());
    let once = Value::default();
    assert!(things.hand_over(once.clone()).await.is_err());
    assert_eq!(puppet.calls(), 1, "`once` is never repeated");
    assert_eq!(
        once.0.load(Ordering::Relaxed),
        1,
        "and never cloned but by this test"
    );
}

#[tokio::test]
async fn a_success_is_not_repeated_however_often_it_is_asked_for() {
    let journal = Journal::default();
    let puppet = Puppet::new([]);
    let things = repeating(&journal, [after(Duration::ZERO)]).wrap_named("puppet", puppet.clone());
    assert_eq!(things.read("k").await.unwrap(), 1);
}

#[tokio::test]
async fn owned_arguments_are_moved_when_nobody_repeats() {
    let journal = Journal::default();
    let stack = Stack::new()
        .with(Probe::new("a", &journal).observing_only())
        .with(Timeout::new(MS));
    let value = Value::default();
    let clones = Arc::clone(&value.0);
    stack
        .wrap_named("puppet", Puppet::new([]))
        .write("k", value)
        .await
        .unwrap();
    assert_eq!(clones.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_duplicate_reaches_the_backend_twice_whatever_the_method() {
    let journal = Journal::default();
    let puppet = Puppet::new([]);
    let things = repeating(&journal, [Exit::Duplicate]).wrap_named("puppet", puppet.clone());
    assert_eq!(
        things.write("k", Value::default()).await.unwrap(),
        2,
        "the second answer is the one that counts"
    );
    assert_eq!(puppet.calls(), 2);
}

#[tokio::test]
async fn outcomes_are_replaced_and_failures_exhausted_for_those_outside() {
    let journal = Journal::default();
    let stack = repeating(
        &journal,
        [Exit::Replace(Error::new(ErrorKind::OutcomeUnknown, "lost"))],
    );
    let error = stack
        .wrap_named("puppet", Puppet::new([]))
        .read("k")
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.operation()),
        (ErrorKind::OutcomeUnknown, "read")
    );
    assert_eq!(
        entries(&journal)[3..],
        ["< c ok", "< retry ok", "< a outcome_unknown"]
    );

    let stack = repeating(
        &journal,
        [Exit::Conclude(unavailable().exhausted().context("tried twice"))],
    );
    let error = stack
        .wrap_named("puppet", Puppet::new([Step::Err(unavailable())]))
        .read("k")
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Exhausted)
    );
}

#[tokio::test(start_paused = true)]
async fn a_bound_drops_what_is_inside_and_fails_with_a_timeout() {
    let journal = Journal::default();
    let puppet = Puppet::new([Step::Hang]);
    let stack = Stack::new()
        .with(Probe::new("a", &journal))
        .with(Probe::new("bound", &journal).bounding(50 * MS))
        .with(Probe::new("c", &journal));
    let begin = Instant::now();
    let error = stack
        .wrap_named("puppet", puppet.clone())
        .read("k")
        .await
        .unwrap_err();
    assert_eq!(begin.elapsed(), 50 * MS);
    assert_eq!((error.kind(), error.had_no_effect()), (ErrorKind::Timeout, false));
    assert!(error.message().contains("50ms"), "{error}");
    assert_eq!(
        entries(&journal)[3..],
        ["< c cancelled", "< bound timeout", "< a timeout"]
    );
    assert_eq!(puppet.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_has_its_own_bound_and_the_outer_bound_ends_them_all() {
    let journal = Journal::default();
    let puppet = Puppet::new([Step::Hang, Step::Sleep(10 * MS)]);
    let retrying = |outer: Duration| {
        Stack::new()
            .with(Probe::new("all", &journal).bounding(outer))
            .with(Probe::new("retry", &journal).exiting([after(5 * MS), after(5 * MS)]))
            .with(Probe::new("each", &journal).bounding(30 * MS))
    };
    let begin = Instant::now();
    assert_eq!(
        retrying(100 * MS)
            .wrap_named("p", puppet.clone())
            .read("k")
            .await
            .unwrap(),
        2
    );
    assert_eq!(begin.elapsed(), 45 * MS);
    entries(&journal);

    let puppet = Puppet::new([Step::Hang, Step::Hang]);
    let begin = Instant::now();
    let error = retrying(50 * MS)
        .wrap_named("p", puppet.clone())
        .read("k")
        .await
        .unwrap_err();
    assert_eq!(begin.elapsed(), 50 * MS);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        std::error::Error::source(&error).is_some(),
        "the failure of the attempt before is told"
    );
    let seen = entries(&journal);
    assert_eq!(
        seen[seen.len() - 3..],
        ["< each cancelled", "< retry cancelled", "< all timeout"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_repetition_that_a_bound_would_cut_off_is_not_waited_for() {
    let journal = Journal::default();
    let stack = Stack::new()
        .with(Probe::new("all", &journal).bounding(50 * MS))
        .with(Probe::new("retry", &journal).exiting([after(60 * MS)]));
    let begin = Instant::now();
    let error = stack
        .wrap_named("p", Puppet::new([Step::Err(unavailable())]))
        .read("k")
        .await
        .unwrap_err();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Unavailable, Retry::Exhausted)
    );
}

#[tokio::test(start_paused = true)]
async fn a_timeout_before_the_backend_was_called_had_no_effect() {
    let journal = Journal::default();
    let puppet = Puppet::new([]);
    let stack = Stack::new()
        .with(Timeout::new(10 * MS))
        .with(Probe::new("queue", &journal).entering([Answer::WaitForever]));
    let error = stack
        .wrap_named("p", puppet.clone())
        .write("k", Value::default())
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.had_no_effect()), (ErrorKind::Timeout, true));
    assert_eq!(
        (puppet.calls(), entries(&journal)),
        (0, vec!["~ queue 1".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn timeouts_leave_alone_what_waits_by_design() {
    let stack = Stack::new().with(Timeout::new(10 * MS).with_method("things.read", 40 * MS));
    let things = stack.wrap_named(
        "p",
        Puppet::new([Step::Sleep(200 * MS), Step::Sleep(30 * MS), Step::Sleep(30 * MS)]),
    );
    assert!(things.wait("k").await.is_ok());
    assert!(
        things.read("k").await.is_ok(),
        "a method can have a limit of its own"
    );
    assert_eq!(
        things.write("k", Value::default()).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
}

#[test]
fn what_is_ready_at_once_never_touches_a_timer() {
    // This runtime has no timer: making one would panic.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let things = Stack::new()
        .with(Timeout::new(MS))
        .wrap_named("p", Puppet::new([]));
    assert_eq!(runtime.block_on(things.read("k")).unwrap(), 1);
}

#[test]
fn the_number_of_interceptors_does_not_change_the_number_of_allocations() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let allocations = |stack: Stack| {
        let things: Arc<dyn Things> = stack.wrap_named("p", Puppet::new([]));
        let mut counted = 0;
        runtime.block_on(async {
            for _ in 0..2 {
                let before = allocation_counter::measure(|| {
                    drop(futures_util::FutureExt::now_or_never(things.read("k")))
                });
                counted = before.count_total;
            }
        });
        counted
    };
    let of = |layers: usize| (0..layers).fold(Stack::new(), |stack, _| stack.with(Timeout::new(MS)));
    assert_eq!(
        allocations(of(0)),
        1,
        "the future of the implementation, handed on"
    );
    assert_eq!(allocations(of(1)), 2, "and the driver's");
    assert_eq!(allocations(of(8)), 2);
    assert_eq!(allocations(of(9)), 3, "more than eight layers need room");
}
