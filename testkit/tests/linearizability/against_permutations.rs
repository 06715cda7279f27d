//! The search against one that is too simple to be wrong: every subset of what is unknown, in every order.

use std::time::Duration;

use infra_testkit::linearizability::{
    Entry, Model, Recorder, RegisterAnswer, RegisterModel, RegisterOperation, Verdict, check,
};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

type Call = Entry<RegisterOperation, RegisterAnswer>;

/// Whether the calls left can follow in some order.
fn explained(state: Option<i64>, left: &[Call]) -> bool {
    if left.iter().all(|call| call.answer.is_none()) {
        return true;
    }
    (0..left.len()).any(|place| {
        let call = &left[place];
        if left.iter().any(|other| other.returned < call.invoked) {
            return false;
        }
        let Some(next) = RegisterModel.step(&state, &call.operation, call.answer.as_ref()) else {
            return false;
        };
        let rest: Vec<_> = [&left[..place], &left[place + 1..]].concat();
        explained(next, &rest)
    })
}

fn call() -> impl Strategy<Value = (RegisterOperation, Option<RegisterAnswer>)> {
    use RegisterAnswer::{Done, Sum, Value, Whether};
    use RegisterOperation::{CompareAndSet, Delete, Get, GetSet, Increment, Set};
    let value = || 1..3_i64;
    let held = || prop_oneof![Just(None), (1..4_i64).prop_map(Some)];
    prop_oneof![
        3 => held().prop_map(|seen| (Get, Some(Value(seen)))),
        3 => value().prop_map(|value| (Set(value), Some(Done))),
        1 => value().prop_map(|value| (Set(value), None)),
        2 => (held(), value()).prop_map(|(from, to)| (CompareAndSet(from, to), Some(Done))),
        1 => (held(), value()).prop_map(|(from, to)| (CompareAndSet(from, to), None)),
        1 => (held(), value(), held()).prop_map(|(from, to, seen)| (CompareAndSet(from, to), Some(Value(seen)))),
        1 => (value(), held()).prop_map(|(value, seen)| (GetSet(value), Some(Value(seen)))),
        1 => any::<bool>().prop_map(|was| (Delete, Some(Whether(was)))),
        1 => (1..4_i64).prop_map(|sum| (Increment(1), Some(Sum(sum)))),
        1 => Just((Increment(1), None)),
    ]
}

#[test]
fn both_say_the_same_of_small_histories() {
    use std::cell::Cell;
    let (accepted, refused) = (Cell::new(0), Cell::new(0));
    let config = proptest::test_runner::Config {
        cases: 3_000,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    };
    // For each call, how many calls that are under way end before it begins.
    proptest!(config, |(calls in vec((call(), 0..3_usize, any::<usize>()), 1..7))| {
        let recorder = Recorder::new();
        let mut open = Vec::new();
        for ((operation, answer), ends, which) in calls {
            for _ in 0..ends.min(open.len()) {
                end(open.remove(which % open.len()));
            }
            open.push((recorder.begin(open.len(), "k", operation), answer));
        }
        open.into_iter().for_each(end);
        let history = recorder.history();
        let expected = explained(None, &history.entries);
        let verdict = check(&RegisterModel, &history, Duration::from_secs(5));
        assert_eq!(matches!(verdict, Verdict::Linearizable(_)), expected, "{verdict:?}");
        assert!(expected || matches!(verdict, Verdict::Violated(_)), "{verdict:?}");
        let count = if expected { &accepted } else { &refused };
        count.set(count.get() + 1);
    });
    let (accepted, refused) = (accepted.get(), refused.get());
    assert!(
        accepted > 200 && refused > 200,
        "{accepted} accepted and {refused} refused: both must be tried"
    );
}

type Open = infra_testkit::linearizability::Call<RegisterOperation, RegisterAnswer>;

fn end((call, answer): (Open, Option<RegisterAnswer>)) {
    match answer {
        Some(answer) => call.answered(answer),
        None => call.unknown(),
    }
}
