//! Every way in which a call can be left unfinished reaches every interceptor that was entered, exactly once.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use infra_core::intercept::{Exit, Stack};

use crate::support::{Answer, Journal, Probe, Puppet, Step, Things, Value, entries, three, unavailable};

/// Polls so many times and then drops.
fn abandon(future: impl Future, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..polls).any(|_| future.as_mut().poll(&mut context).is_ready())
}

/// Checks that every exit is told to whoever was entered last and that nobody is left without one; `repeating` asks for
/// `repetitions` repetitions, after which it is inside again.
fn check_balance(journal: &[String], repeating: &str, mut repetitions: usize) {
    let mut inside = Vec::new();
    let mut waiting = false;
    for entry in journal {
        let (mark, told) = entry.split_once(' ').unwrap();
        let (name, outcome) = told.split_once(' ').unwrap();
        if mark != "<" {
            inside.push(name);
            waiting = mark == "~";
            continue;
        }
        if std::mem::take(&mut waiting) && inside.last() != Some(&name) {
            inside.pop(); // it was still waiting, and so never entered
        }
        assert_eq!(inside.last(), Some(&name), "{journal:?}");
        if name == repeating && repetitions > 0 && outcome != "cancelled" {
            repetitions -= 1;
        } else {
            inside.pop();
        }
    }
    assert!(
        inside.is_empty(),
        "{inside:?} were never told the end: {journal:?}"
    );
}

#[test]
fn dropping_at_any_poll_tells_everyone_once() {
    // Eight times pending: in the queue of b, in the first attempt, in the queue of c, in the third attempt.
    for polls in 0..12 {
        let journal = Journal::default();
        let puppet = Puppet::new([Step::Yield(2), Step::Err(unavailable()), Step::Yield(2)]);
        let stack = Stack::new()
            .with(Probe::new("a", &journal))
            .with(
                Probe::new("b", &journal)
                    .entering([Answer::Wait(2, Ok(1))])
                    .exiting([
                        Exit::Duplicate,
                        Exit::Repeat {
                            after: Duration::ZERO,
                        },
                    ]),
            )
            .with(Probe::new("c", &journal).entering([Answer::Proceed, Answer::Wait(2, Ok(1))]));
        let finished = abandon(stack.wrap_named("p", puppet.clone()).read("k"), polls);
        let seen = entries(&journal);
        if polls == 0 {
            assert!(seen.is_empty(), "never polled, never begun");
        } else if polls <= 2 {
            assert_eq!(
                seen,
                ["> a 1", "~ b 1", "< a cancelled"],
                "who still waits was not entered"
            );
        } else if !finished {
            assert!(
                seen.last().unwrap().ends_with("< a cancelled"),
                "after {polls}: {seen:?}"
            );
        }
        check_balance(&seen, "b", 2);
        assert_eq!(puppet.alive(), 0);
        assert_eq!(finished, polls >= 9, "after {polls}: {seen:?}");
    }
}

#[test]
fn the_attempt_is_gone_before_anyone_is_told() {
    #[derive(Debug)]
    struct Watching(Arc<Puppet>);
    impl infra_core::intercept::Interceptor for Watching {
        fn name(&self) -> &'static str {
            "watching"
        }
        fn exit(
            &self,
            _: &infra_core::intercept::Call<'_>,
            _: &mut infra_core::intercept::Scope,
            _: &infra_core::intercept::Outcome<'_>,
        ) -> Exit {
            assert_eq!(self.0.alive(), 0);
            Exit::Done
        }
    }
    let puppet = Puppet::new([Step::Hang]);
    let things = Stack::new()
        .with(Watching(puppet.clone()))
        .wrap_named("p", puppet.clone());
    assert!(!abandon(things.read("k"), 1));
    assert_eq!(puppet.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_in_the_pause_before_a_repetition_tells_everyone() {
    let journal = Journal::default();
    let stack = Stack::new()
        .with(Probe::new("a", &journal))
        .with(Probe::new("b", &journal).exiting([Exit::Repeat {
            after: Duration::from_secs(1),
        }]))
        .with(Probe::new("c", &journal));
    let things = stack.wrap_named("p", Puppet::new([Step::Err(unavailable())]));
    let call = things.read("k");
    assert!(
        tokio::time::timeout(Duration::from_millis(10), call)
            .await
            .is_err()
    );
    assert_eq!(
        entries(&journal)[3..],
        [
            "< c unavailable",
            "< b unavailable",
            "< b cancelled",
            "< a cancelled"
        ]
    );
}

#[test]
fn a_panic_tells_everyone_and_goes_on() {
    for steps in [vec![Step::Panic], vec![Step::Err(unavailable()), Step::Panic]] {
        let attempts = steps.len();
        let journal = Journal::default();
        let stack = Stack::new()
            .with(Probe::new("a", &journal))
            .with(
                Probe::new("b", &journal).exiting((1..attempts).map(|_| Exit::Repeat {
                    after: Duration::ZERO,
                })),
            )
            .with(Probe::new("c", &journal));
        let things = stack.wrap_named("p", Puppet::new(steps));
        let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| abandon(things.read("k"), 1)));
        assert!(panicked.is_err());
        let seen = entries(&journal);
        assert_eq!(
            seen[seen.len() - 3..],
            ["< c panicked", "< b panicked", "< a panicked"]
        );
    }
}

#[test]
fn a_future_that_is_dropped_while_another_panics_was_cancelled() {
    let journal = Journal::default();
    let things = three(&journal).wrap_named("p", Puppet::new([Step::Hang]));
    let panicked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut call = things.write("k", Value::default());
        let mut context = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut context).is_pending());
        panic!("somebody else's");
    }));
    assert!(panicked.is_err());
    assert_eq!(
        entries(&journal)[3..],
        ["< c cancelled", "< b cancelled", "< a cancelled"]
    );
}
