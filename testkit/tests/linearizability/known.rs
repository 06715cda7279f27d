//! Histories of which everybody can see whether they are linearizable.

use std::time::Duration;

use infra_testkit::linearizability::{
    LockAnswer, LockModel, LockOperation, Model, NumberAnswer, NumberModel, NumberOperation, Recorder,
    RegisterAnswer, RegisterModel, RegisterOperation, Verdict, VersionedAnswer, VersionedModel,
    VersionedOperation, Violation, check,
};

fn verdict<M: Model>(model: M, recorder: &Recorder<M::Operation, M::Answer>) -> Verdict {
    check(&model, &recorder.history(), Duration::from_secs(5))
}

fn accepted<M: Model>(model: M, recorder: &Recorder<M::Operation, M::Answer>) {
    let verdict = verdict(model, recorder);
    assert!(matches!(verdict, Verdict::Linearizable(_)), "{verdict:?}");
}

fn refused<M: Model>(model: M, recorder: &Recorder<M::Operation, M::Answer>) -> Violation {
    match verdict(model, recorder) {
        Verdict::Violated(violation) => violation,
        other => panic!("accepted: {other:?}"),
    }
}

/// Calls one after the other.
fn sequence<O, A>(calls: impl IntoIterator<Item = (O, A)>) -> Recorder<O, A> {
    let recorder = Recorder::new();
    for (operation, answer) in calls {
        recorder.begin(0, "k", operation).answered(answer);
    }
    recorder
}

mod registers {
    use super::*;
    use RegisterAnswer::{Done, Sum, Value, Whether};
    use RegisterOperation::{CompareAndSet, Delete, Get, Increment, Set, SetIfAbsent};

    #[test]
    fn calls_that_overlap_may_come_in_either_order() {
        for seen in [None, Some(1), Some(2)] {
            let recorder = Recorder::new();
            let one = recorder.begin(0, "k", Set(1));
            let other = recorder.begin(1, "k", Set(2));
            let read = recorder.begin(2, "k", Get);
            read.answered(Value(seen));
            other.answered(Done);
            one.answered(Done);
            accepted(RegisterModel, &recorder);
        }
    }

    #[test]
    fn a_stale_read_is_refused_and_explained() {
        let stale = sequence([(Set(1), Done), (Set(2), Done), (Get, Value(Some(1)))]);
        let text = refused(RegisterModel, &stale).to_string();
        assert!(
            text.contains("\"k\"") && text.contains("then it holds Some(2)"),
            "{text}"
        );
        let last = text.lines().last().expect("not empty");
        assert!(last.contains("Get -> Value(Some(1))"), "{text}");
    }

    #[test]
    fn reads_that_go_back_in_time_are_refused() {
        let recorder = sequence([(Set(1), Done)]);
        let slow = recorder.begin(0, "k", Set(2));
        recorder.begin(1, "k", Get).answered(Value(Some(2)));
        recorder.begin(2, "k", Get).answered(Value(Some(1)));
        slow.answered(Done);
        refused(RegisterModel, &recorder);
    }

    #[test]
    fn lost_updates_and_double_winners_are_refused() {
        let recorder = Recorder::new();
        let calls = [0, 1].map(|client| recorder.begin(client, "k", Increment(1)));
        calls.into_iter().for_each(|call| call.answered(Sum(1)));
        refused(RegisterModel, &recorder);

        let recorder = sequence([(Set(1), Done)]);
        let calls =
            [0, 1].map(|client| recorder.begin(client, "k", CompareAndSet(Some(1), 10 + client as i64)));
        calls.into_iter().for_each(|call| call.answered(Done));
        refused(RegisterModel, &recorder);

        let recorder = Recorder::new();
        let calls = [0, 1].map(|client| recorder.begin(client, "k", SetIfAbsent(client as i64)));
        calls.into_iter().for_each(|call| call.answered(Whether(true)));
        refused(RegisterModel, &recorder);
    }

    #[test]
    fn what_is_unknown_may_happen_late_once_or_never() {
        for seen in [&[None, None][..], &[None, Some(1)], &[Some(1), Some(1)]] {
            let recorder = Recorder::new();
            recorder.begin(0, "k", Set(1)).unknown();
            for value in seen {
                recorder.begin(1, "k", Get).answered(Value(*value));
            }
            accepted(RegisterModel, &recorder);
        }
        let twice = Recorder::new();
        twice.begin(0, "k", Set(1)).unknown();
        twice.begin(1, "k", Get).answered(Value(Some(1)));
        twice.begin(1, "k", Delete).answered(Whether(true));
        twice.begin(1, "k", Get).answered(Value(Some(1)));
        refused(RegisterModel, &twice);
        let before = sequence([(Get, Value(Some(1)))]);
        before.begin(0, "k", Set(1)).unknown();
        refused(RegisterModel, &before);
    }

    #[test]
    fn keys_are_apart() {
        let recorder = Recorder::new();
        recorder.begin(0, "a", Set(1)).answered(Done);
        recorder.begin(0, "b", Get).answered(Value(None));
        accepted(RegisterModel, &recorder);
        recorder.begin(0, "a", Get).answered(Value(None));
        assert_eq!(refused(RegisterModel, &recorder).key, "a");
    }

    #[test]
    fn a_search_without_time_ends_undecided() {
        let hopeless = Recorder::new();
        let calls: Vec<_> = (0..40)
            .map(|client| hopeless.begin(client, "k", Set(client as i64)))
            .collect();
        calls.into_iter().for_each(|call| call.answered(Done));
        hopeless.begin(0, "k", Get).answered(Value(Some(-1)));
        let verdict = check(&RegisterModel, &hopeless.history(), Duration::from_millis(50));
        assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
        assert!(
            verdict.into_outcome().is_err(),
            "what is not proven does not pass"
        );
    }
}

mod leases {
    use super::*;
    use LockAnswer::{Granted, Released, Taken};
    use LockOperation::{Acquire, Release};

    #[test]
    fn one_holder_after_the_other_is_accepted() {
        let recorder = sequence([
            (Acquire(1), Granted(1)),
            (Acquire(2), Taken),
            (Release(1), Released),
        ]);
        recorder.begin(0, "k", Acquire(2)).answered(Granted(5));
        accepted(LockModel, &recorder);
    }

    #[test]
    fn double_holders_and_used_tokens_are_refused() {
        refused(
            LockModel,
            &sequence([(Acquire(1), Granted(1)), (Acquire(2), Granted(2))]),
        );
        for token in [1, 2] {
            let again = [
                (Acquire(1), Granted(2)),
                (Release(1), Released),
                (Acquire(2), Granted(token)),
            ];
            refused(LockModel, &sequence(again));
        }
        refused(LockModel, &sequence([(Acquire(1), Taken)]));
    }

    #[test]
    fn a_lost_answer_may_have_left_a_holder() {
        let recorder = Recorder::new();
        recorder.begin(0, "k", Acquire(1)).unknown();
        recorder.begin(1, "k", Acquire(2)).answered(Taken);
        recorder.begin(1, "k", Acquire(3)).answered(Granted(7));
        accepted(LockModel, &recorder);
        recorder.begin(1, "k", Acquire(4)).answered(Granted(8));
        refused(LockModel, &recorder);
    }

    #[test]
    fn numbers_have_one_holder() {
        use NumberAnswer::{Exhausted, Leased};
        let acquire = NumberOperation::Acquire;
        let model = NumberModel::new(2);
        accepted(
            model,
            &sequence([
                (acquire(1), Leased(0)),
                (acquire(2), Leased(1)),
                (acquire(3), Exhausted),
            ]),
        );
        refused(
            model,
            &sequence([(acquire(1), Leased(0)), (acquire(2), Leased(0))]),
        );
        refused(
            model,
            &sequence([(acquire(1), Leased(0)), (acquire(2), Exhausted)]),
        );
        let again = sequence([
            (acquire(1), Leased(0)),
            (NumberOperation::Release(1), NumberAnswer::Released),
        ]);
        again.begin(0, "k", acquire(2)).answered(Leased(0));
        accepted(model, &again);
    }
}

mod versions {
    use super::*;
    use VersionedAnswer::{Conflict, Entry, Written};
    use VersionedOperation::{CompareAndSet, Delete, Read, Set};

    #[test]
    fn versions_that_grow_are_accepted() {
        let calls = [
            (CompareAndSet(0, 1), Written(3)),
            (CompareAndSet(0, 2), Conflict),
            (CompareAndSet(3, 3), Written(4)),
            (Read, Entry(Some((3, 4)))),
            (Delete, Written(5)),
            (Read, Entry(None)),
        ];
        accepted(VersionedModel, &sequence(calls));
    }

    #[test]
    fn versions_that_do_not_are_refused() {
        refused(
            VersionedModel,
            &sequence([(Set(1), Written(3)), (Set(2), Written(3))]),
        );
        refused(
            VersionedModel,
            &sequence([(Set(1), Written(3)), (CompareAndSet(2, 2), Written(4))]),
        );
        refused(
            VersionedModel,
            &sequence([(Set(1), Written(3)), (CompareAndSet(3, 2), Conflict)]),
        );
        let reborn = [
            (Set(1), Written(3)),
            (Delete, Written(4)),
            (CompareAndSet(0, 2), Written(3)),
        ];
        refused(VersionedModel, &sequence(reborn));
    }

    #[test]
    fn a_version_that_was_never_told_is_learnt() {
        let recorder = sequence([(Set(1), Written(3))]);
        recorder.begin(0, "k", Set(2)).unknown();
        recorder.begin(0, "k", Read).answered(Entry(Some((2, 9))));
        recorder.begin(0, "k", CompareAndSet(9, 3)).answered(Written(10));
        accepted(VersionedModel, &recorder);
        let recorder = sequence([(Set(1), Written(3))]);
        recorder.begin(0, "k", Set(2)).unknown();
        recorder.begin(0, "k", Read).answered(Entry(Some((2, 9))));
        recorder.begin(0, "k", Read).answered(Entry(Some((2, 8))));
        refused(VersionedModel, &recorder);
    }
}
