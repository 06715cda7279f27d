//! The retry budget in every interleaving of its callers: never more repetitions than were paid in.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::budget::{Budget, BudgetPolicy};
use crate::sync::atomic::{AtomicI64, Ordering};
use crate::sync::explore::{every_interleaving, race, some_interleaving_fails};

/// What is asked of a budget, at so many steps of time after its making.
trait Purse: Send + Sync + 'static {
    fn deposit(&self, step: u32);
    fn withdraw(&self, step: u32) -> bool;
}

struct Real(Budget, Instant);

const TTL: Duration = Duration::from_secs(10);

impl Real {
    fn new() -> Self {
        let policy = BudgetPolicy::default()
            .with_ttl(TTL)
            .with_min_per_second(0)
            .with_ratio(1.0);
        let made = Instant::now();
        Self(Budget::new(&policy), made)
    }

    fn at(&self, step: u32) -> Instant {
        // Half the time to live is one step, see `SLOTS`.
        self.1 + TTL / 2 * step
    }
}

impl Purse for Real {
    fn deposit(&self, step: u32) {
        self.0.deposit_at(self.at(step));
    }

    fn withdraw(&self, step: u32) -> bool {
        self.0.withdraw_at(self.at(step))
    }
}

/// Looks first and takes then.
struct Hasty(AtomicI64);

impl Purse for Hasty {
    fn deposit(&self, _: u32) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn withdraw(&self, _: u32) -> bool {
        let enough = self.0.load(Ordering::SeqCst) > 0;
        if enough {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
        enough
    }
}

/// Deposits once, then withdraws in several threads, each at its own step of time; at most one may succeed, and what is
/// deposited later pays for one more.
fn pays_no_more_than_was_paid_in(purse: impl Purse, steps: &[u32]) {
    let purse = Arc::new(purse);
    purse.deposit(0);
    let racers = steps.iter().map(|step| {
        let (purse, step) = (Arc::clone(&purse), *step);
        Box::new(move || purse.withdraw(step)) as Box<dyn FnOnce() -> bool + Send>
    });
    let paid = race(racers.collect()).into_iter().filter(|paid| *paid).count();
    assert!(paid <= 1, "{paid} repetitions for one deposit");
}

/// One thread withdraws from an empty budget while others deposit so much later that the budget has gone round.
fn a_late_caller_takes_no_more_than_there_is(purse: impl Purse) {
    let purse = Arc::new(purse);
    let (late, now) = (Arc::clone(&purse), Arc::clone(&purse));
    let mut paid = race(vec![
        Box::new(move || late.withdraw(0)) as Box<dyn FnOnce() -> bool + Send>,
        Box::new(move || {
            now.deposit(2);
            now.withdraw(2)
        }),
    ]);
    paid.extend([purse.withdraw(2), purse.withdraw(2)]);
    let paid = paid.into_iter().filter(|paid| *paid).count();
    assert!(paid <= 1, "{paid} repetitions for one deposit");
}

#[test]
fn racing_withdrawals_share_one_token() {
    every_interleaving(|| pays_no_more_than_was_paid_in(Real::new(), &[0, 0, 0]));
}

#[test]
fn withdrawals_on_both_sides_of_a_step_share_one_token() {
    every_interleaving(|| pays_no_more_than_was_paid_in(Real::new(), &[0, 1, 1]));
}

#[test]
fn a_caller_that_was_held_up_for_a_whole_round_takes_nothing_twice() {
    every_interleaving(|| a_late_caller_takes_no_more_than_there_is(Real::new()));
}

#[test]
fn a_budget_that_looks_first_and_takes_then_is_found_out() {
    some_interleaving_fails(|| pays_no_more_than_was_paid_in(Hasty(AtomicI64::new(0)), &[0, 0]));
}
