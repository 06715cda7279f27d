//! Local buckets in every interleaving of their callers: each token is spent once, and all of several or none are taken.

use std::sync::Arc;

use super::contract::Take;
use super::local::LocalBuckets;
use super::quota::Quota;
use crate::sync::Mutex;
use crate::sync::explore::{every_interleaving, race, some_interleaving_fails};

/// Two tokens, and practically never another one.
fn quota() -> Quota {
    Quota::new(0.001, 2).expect("valid")
}

fn buckets() -> LocalBuckets {
    // Where a key lies is a matter of chance, and must be the same each time that the test is run.
    fastrand::seed(7);
    LocalBuckets::new(100)
}

/// Takes one token of a key, if there is one.
type TakeOne = dyn Fn(&'static str) -> bool + Send + Sync;

fn two_tokens_for_three_callers(take: Arc<TakeOne>) {
    let racers = (0..3).map(|_| {
        let take = Arc::clone(&take);
        Box::new(move || take("user")) as Box<dyn FnOnce() -> bool + Send>
    });
    let allowed = race(racers.collect())
        .into_iter()
        .filter(|allowed| *allowed)
        .count();
    assert_eq!(allowed, 2, "tokens were spent twice, or lost");
}

#[test]
fn each_token_is_spent_once() {
    every_interleaving(|| {
        let buckets = buckets();
        two_tokens_for_three_callers(Arc::new(move |key| {
            buckets.take_now(key, quota(), 1).expect("open").allowed
        }));
    });
}

#[test]
fn a_bucket_that_is_read_and_written_under_two_locks_is_found_out() {
    some_interleaving_fails(|| {
        let tokens = Mutex::new(2);
        two_tokens_for_three_callers(Arc::new(move |_| {
            let left: u32 = *tokens.lock().expect("not poisoned");
            if let Some(fewer) = left.checked_sub(1) {
                *tokens.lock().expect("not poisoned") = fewer;
            }
            left > 0
        }));
    });
}

/// Two callers take from two buckets, in opposite orders: both buckets or none.
fn all_or_none(
    take_all: Arc<dyn Fn([&'static str; 2]) -> bool + Send + Sync>,
    left: impl FnOnce(&str) -> u64,
) {
    let racers = [["a", "bcd"], ["bcd", "a"], ["a", "bcd"]].map(|keys| {
        let take_all = Arc::clone(&take_all);
        Box::new(move || take_all(keys)) as Box<dyn FnOnce() -> bool + Send>
    });
    let allowed = race(racers.into()).into_iter().filter(|allowed| *allowed).count();
    assert_eq!(allowed, 2);
    assert_eq!(left("a"), 0);
}

#[test]
fn several_buckets_are_taken_from_together_and_nobody_waits_in_a_circle() {
    every_interleaving(|| {
        let buckets = Arc::new(buckets());
        let taking = Arc::clone(&buckets);
        all_or_none(
            Arc::new(move |keys| {
                let takes = keys.map(|key| Take::new(key, quota(), 1));
                let decisions = taking.take_all_now(&takes).expect("open");
                decisions.iter().all(|decision| decision.allowed)
            }),
            |key| u64::from(buckets.take_now(key, quota(), 1).expect("open").allowed),
        );
    });
}

#[test]
fn buckets_that_are_locked_in_the_callers_order_are_found_out() {
    some_interleaving_fails(|| {
        let buckets = Arc::new([Mutex::new(2_u64), Mutex::new(2)]);
        let taking = Arc::clone(&buckets);
        let place = |key: &str| usize::from(key != "a");
        all_or_none(
            Arc::new(move |keys| {
                let mut first = taking[place(keys[0])].lock().expect("not poisoned");
                let mut second = taking[place(keys[1])].lock().expect("not poisoned");
                let enough = *first > 0 && *second > 0;
                if enough {
                    *first -= 1;
                    *second -= 1;
                }
                enough
            }),
            |key| *buckets[place(key)].lock().expect("not poisoned"),
        );
    });
}
