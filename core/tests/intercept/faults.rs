//! Faults for one call, for one key, for a component, in another order, with the connection; and those that nothing meets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use infra_core::ErrorKind;
use infra_core::intercept::{Fault, Faults, Proxy, Recorder, Stack};
use tokio::time::Instant;

use crate::support::{Puppet, Things, Value};

const MS: Duration = Duration::from_millis(1);
const BROKEN: Fault = Fault::Err(ErrorKind::Unavailable);

/// A puppet behind faults; the recorder is inside and sees what comes through.
fn wrapped(faults: &Arc<Faults>) -> (Arc<Proxy<Puppet>>, Arc<Recorder>) {
    let arrived = Arc::new(Recorder::new());
    let stack = Stack::new()
        .with_shared(faults.clone())
        .with_shared(arrived.clone());
    (stack.wrap_named("p", Puppet::new([])), arrived)
}

#[tokio::test]
async fn the_nth_call_is_counted_from_now_and_goes_before_scripts() {
    let faults = Arc::new(Faults::new());
    let (things, _) = wrapped(&faults);
    things.read("k").await.unwrap();
    faults.script("things.read", [Fault::Ok, Fault::Err(ErrorKind::Internal)]);
    faults.on("things.read").with_subject("k").nth(3, BROKEN);
    faults.on("things.*").nth(5, BROKEN);
    assert_eq!(faults.remaining(), 4);
    let mut seen = Vec::new();
    for key in ["k", "other", "k", "k", "k", "k"] {
        seen.push(things.read(key).await.err().map(|error| error.kind()));
    }
    let (broken, internal) = (Some(ErrorKind::Unavailable), Some(ErrorKind::Internal));
    assert_eq!(seen, [None, internal, None, broken, broken, None]);
    assert_eq!(faults.remaining(), 0);
    faults.on("things.read").nth(0, BROKEN);
    faults.on("things.read").nth(1, BROKEN);
    for _ in 0..2 {
        assert!(things.read("k").await.is_err(), "the second has the next call");
    }
    assert!(things.read("k").await.is_ok());
}

#[tokio::test]
async fn requests_are_taken_back_by_their_name_and_subject() {
    let faults = Arc::new(Faults::new());
    let (things, _) = wrapped(&faults);
    faults.on("things.*").with_subject("bad").always(BROKEN);
    faults.on("things.read").always(BROKEN);
    assert!(things.read("good").await.is_err());
    faults.on("things.read").clear();
    assert!(things.read("good").await.is_ok());
    assert!(things.read("bad").await.is_err());
    faults.on("things.*").clear();
    assert!(things.read("bad").await.is_err(), "another subject than none");
    faults.on("things.*").with_subject("bad").clear();
    assert!(things.read("bad").await.is_ok());
    faults.verify().expect("each was met before it was taken back");
}

#[tokio::test]
async fn chance_is_drawn_for_each_method_by_itself() {
    async fn run(others: usize) -> Vec<bool> {
        let faults = Arc::new(Faults::seeded(7));
        faults.on("things.read").by_chance(0.3, BROKEN);
        faults.on("things.write").by_chance(0.5, BROKEN);
        let (things, _) = wrapped(&faults);
        let mut failed = Vec::new();
        for _ in 0..200 {
            failed.push(things.read("k").await.is_err());
            for _ in 0..others {
                let _ = things.write("k", Value::default()).await;
            }
            assert!(things.wait("k").await.is_ok(), "nothing was asked for it");
        }
        failed
    }
    let alone = run(0).await;
    assert_eq!(alone, run(3).await);
    let failures = alone.iter().filter(|failed| **failed).count();
    assert!((30..100).contains(&failures), "{failures}");
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_swap() {
    let faults = Arc::new(Faults::new());
    let (things, arrived) = wrapped(&faults);
    let reorder = || Fault::Reorder {
        within: Duration::from_secs(1),
    };
    let arrivals = |arrived: &Recorder| -> Vec<String> {
        let calls = arrived.calls().into_iter();
        calls.filter_map(|call| call.subject).collect()
    };
    faults.script("things.read", [reorder()]);
    let began = Instant::now();
    let (first, other, second) = tokio::join!(
        things.read("first"),
        things.write("other", Value::default()),
        async {
            tokio::time::sleep(5 * MS).await;
            things.read("second").await
        }
    );
    assert!(first.is_ok() && other.is_ok() && second.is_ok());
    assert_eq!(arrivals(&arrived), ["other", "second", "first"]);
    assert_eq!(began.elapsed(), 5 * MS);

    // Only what the same request names overtakes, and only what came later.
    arrived.clear();
    faults.on("things.*").with_subject("k").script([reorder()]);
    let (held, _, _) = tokio::join!(things.read("k"), things.read("other"), async {
        tokio::time::sleep(MS).await;
        things.write("k", Value::default()).await
    });
    held.unwrap();
    assert_eq!(arrivals(&arrived), ["other", "k", "k"]);
    assert_eq!(arrived.labels()[1..], ["things.write", "things.read"]);

    // Nobody comes: it goes through in the end.
    faults.script("things.read", [reorder()]);
    let began = Instant::now();
    things.read("alone").await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_gives_up_while_it_is_held_back_leaves_nothing() {
    let faults = Arc::new(Faults::new());
    let (things, arrived) = wrapped(&faults);
    let within = Duration::MAX;
    faults.script(
        "things.read",
        [Fault::Reorder { within }, Fault::Ok, Fault::Reorder { within }],
    );
    assert!(tokio::time::timeout(MS, things.read("given up")).await.is_err());
    things.read("k").await.unwrap();
    assert!(tokio::time::timeout(MS, things.read("given up")).await.is_err());
    assert_eq!(arrived.count("things.read"), 1);
    assert!(!format!("{faults:?}").contains("given up"), "no call is kept");
}

#[tokio::test]
async fn a_lost_connection_takes_with_it_what_it_carried() {
    let faults = Arc::new(Faults::new());
    let (things, arrived) = wrapped(&faults);
    let lost = Arc::new(AtomicUsize::new(0));
    for component in ["things", "things", "others"] {
        let (lost, again) = (lost.clone(), Arc::downgrade(&faults));
        faults.on_disconnect(component, move || {
            lost.fetch_add(1, Ordering::Relaxed);
            // It may use the faults itself.
            again.upgrade().unwrap().script("things.wait", [BROKEN]);
        });
    }
    faults.script("things.read", [Fault::Disconnect]);
    let error = things.read("k").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.had_no_effect()),
        (ErrorKind::Unavailable, true)
    );
    assert_eq!((lost.load(Ordering::Relaxed), arrived.calls().len()), (2, 0));
    assert!(things.wait("k").await.is_err());
    assert!(faults.disconnect("others") && !faults.disconnect("nobody"));
    assert_eq!(lost.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn what_no_call_has_met_is_told() {
    let faults = Arc::new(Faults::new());
    let (things, _) = wrapped(&faults);
    faults.by_chance(0.0, BROKEN);
    faults.script("things.red", [BROKEN]);
    faults.script("things.read", []);
    let error = faults.verify().unwrap_err().to_string();
    assert!(error.contains("nothing was called"), "{error}");
    assert!(things.read("k").await.is_ok());
    faults.on("things.read").with_subject("j").nth(1, BROKEN);
    // Endless, and named as methods are that were called: nothing is mistyped.
    faults.on("things.*").with_subject("j").always(BROKEN);
    faults.on("things.read").with_subject("j").by_chance(1.0, BROKEN);
    faults.on("thing.*").always(BROKEN);
    faults.clear();
    let unused: Vec<_> = faults.unused().iter().map(ToString::to_string).collect();
    assert_eq!(
        unused,
        [
            r#""things.red""#,
            r#""things.read" with subject "j""#,
            r#""thing.*""#
        ]
    );
    let error = faults.verify().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(
        error.to_string().contains("what was called is things.read"),
        "{error}"
    );
}
