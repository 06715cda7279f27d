//! Breakers in every interleaving of their callers: half-open admits exactly as many as it may, a probe that is dropped frees
//! its place, no count and no transition is lost.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};

use super::contract::{Breaker, State};
use super::machine::Machine;
use super::observe::Hub;
use super::permit::{Outcome, Permit, Settlement, Ticket};
use super::policy::Policy;
use super::window::{BUCKETS, Window};
use super::words::{Place, TaggedCount, TicketKind};
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::explore::{every_interleaving, race, some_interleaving_fails, with_preemptions};
use crate::telemetry::NoMeter;

type Racer<R> = Box<dyn FnOnce() -> R + Send>;

/// Opens at the first failure, probes at once, and closes after one success; the shares play no part.
fn policy(probes: u32) -> Policy {
    Policy {
        failure_threshold: 1,
        success_threshold: 1,
        open_state_timeout: Duration::ZERO,
        half_open_max_probes: probes,
        minimum_calls: u32::MAX,
        ..Policy::default()
    }
}

fn hub() -> Arc<Hub> {
    Arc::new(Hub::new(Arc::new(NoMeter)))
}

fn machine(policy: Policy) -> Arc<Machine> {
    Arc::new(Machine::new("it", Arc::new(policy), hub()))
}

/// One that has just opened.
fn opened(policy: Policy) -> Arc<Machine> {
    let machine = machine(policy);
    end(machine.try_acquire().expect("closed"), Outcome::Failure);
    machine
}

fn end(permit: Permit<'_>, outcome: Outcome) {
    permit.record(outcome, Duration::ZERO);
}

/// What lets probes in, a bounded number at once.
trait Gate: Send + Sync + 'static {
    fn enter(&self) -> Option<Ticket>;
    fn leave(&self, ticket: Ticket, outcome: Outcome);
}

impl Gate for Arc<Machine> {
    fn enter(&self) -> Option<Ticket> {
        let ticket = self.try_acquire().ok()?.into_ticket();
        // Calls that pass while it is closed are no probes.
        matches!(TicketKind::unpack(ticket), Some(TicketKind::Probe { .. })).then_some(ticket)
    }

    fn leave(&self, ticket: Ticket, outcome: Outcome) {
        end(Permit::resume(&**self, ticket), outcome);
    }
}

/// As many threads as outcomes, each trying once and ending as it is told; asserts that not more than `most` are inside at once.
fn admits_at_most<const N: usize>(most: usize, gate: impl Gate, outcomes: [Outcome; N]) -> usize {
    let gate = Arc::new(gate);
    let inside = Arc::new(AtomicUsize::new(0));
    let racers = outcomes.map(|outcome| {
        let (gate, inside) = (Arc::clone(&gate), Arc::clone(&inside));
        Box::new(move || {
            let Some(ticket) = gate.enter() else { return 0 };
            let others = inside.fetch_add(1, Ordering::SeqCst);
            assert!(others < most, "{} probes at once", others + 1);
            inside.fetch_sub(1, Ordering::SeqCst);
            gate.leave(ticket, outcome);
            1_usize
        }) as Racer<usize>
    });
    race(racers.into()).into_iter().sum()
}

/// Looks for a free place first and takes it then.
struct LooseGate(AtomicU64);

impl Gate for LooseGate {
    fn enter(&self) -> Option<Ticket> {
        (self.0.load(Ordering::SeqCst) == 0).then(|| {
            self.0.store(1, Ordering::SeqCst);
            Ticket::from_bits(0)
        })
    }

    fn leave(&self, _: Ticket, _: Outcome) {
        self.0.store(0, Ordering::SeqCst);
    }
}

#[test]
fn half_open_admits_one_probe_whatever_becomes_of_it() {
    every_interleaving(|| {
        let outcomes = [Outcome::Failure, Outcome::Success];
        assert!(
            admits_at_most(1, opened(policy(1)), outcomes) >= 1,
            "somebody probes"
        );
    });
    with_preemptions(1, || {
        let outcomes = [Outcome::Failure, Outcome::Ignored, Outcome::Failure];
        assert!(
            admits_at_most(1, opened(policy(1)), outcomes) >= 1,
            "somebody probes"
        );
    });
}

#[test]
fn half_open_admits_two_probes_where_it_may() {
    with_preemptions(1, || {
        let outcomes = [Outcome::Ignored, Outcome::Ignored, Outcome::Ignored];
        assert!(
            admits_at_most(2, opened(policy(2)), outcomes) >= 2,
            "two may probe at once"
        );
    });
}

#[test]
fn a_gate_that_looks_first_and_takes_then_is_found_out() {
    let outcomes = [Outcome::Ignored, Outcome::Ignored, Outcome::Ignored];
    some_interleaving_fails(move || {
        admits_at_most(1, LooseGate(AtomicU64::new(0)), outcomes);
    });
}

/// A thread that was held up since an earlier phase, and one of the present phase, want the same place.
fn a_late_thread_takes_no_place_of_others(take: fn(&Place, u32) -> bool) {
    let place = Arc::new(Place::default());
    let (late, present) = (Arc::clone(&place), Arc::clone(&place));
    let taken = race(vec![
        Box::new(move || {
            // What a breaker does when it finds that the phase is over.
            if take(&late, 1) {
                late.free(1);
            }
            true
        }) as Racer<bool>,
        Box::new(move || take(&present, 3)),
    ]);
    assert!(taken[1], "the present phase has its place");
    assert!(place.taken_at(3).is_some(), "nobody takes the place away");
}

#[test]
fn a_probe_keeps_its_place_against_threads_of_earlier_phases() {
    every_interleaving(|| {
        a_late_thread_takes_no_place_of_others(|place, generation| place.take(generation, 0))
    });
}

#[test]
fn a_place_that_is_taken_away_is_found_out() {
    some_interleaving_fails(|| {
        a_late_thread_takes_no_place_of_others(|place, generation| {
            place.free(3);
            place.take(generation, 0)
        });
    });
}

/// Takes a permit and drops it, as a cancelled call does.
fn a_dropped_probe_frees_its_place(breaker: Arc<dyn Breaker>) {
    let racers = (0..2).map(|_| {
        let breaker = Arc::clone(&breaker);
        Box::new(move || drop(breaker.try_acquire())) as Racer<()>
    });
    race(racers.collect());
    assert_eq!(breaker.state(), State::HalfOpen);
    assert!(breaker.try_acquire().is_ok(), "a place is lost");
}

/// Forgets to free the places of probes that were dropped.
#[derive(Debug)]
struct Forgetful(Arc<Machine>);

impl Breaker for Forgetful {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn try_acquire(&self) -> crate::Result<Permit<'_>> {
        Ok(Permit::resume(self, self.0.try_acquire()?.into_ticket()))
    }

    fn settle(&self, ticket: Ticket, settlement: Settlement) {
        if settlement != Settlement::Released {
            self.0.settle(ticket, settlement);
        }
    }

    fn state(&self) -> State {
        self.0.state()
    }

    fn force(&self, force: super::contract::Force) {
        self.0.force(force);
    }
}

#[test]
fn dropped_probes_free_their_places() {
    every_interleaving(|| a_dropped_probe_frees_its_place(opened(policy(1))));
}

#[test]
fn a_place_that_stays_taken_is_found_out() {
    some_interleaving_fails(|| a_dropped_probe_frees_its_place(Arc::new(Forgetful(opened(policy(1))))));
}

/// Failures at the same moment, as many as the threshold: it must open.
fn failures_open(policy: Policy) {
    let hub = hub();
    let mut told = hub.watch();
    let machine = Arc::new(Machine::new("it", Arc::new(policy), hub));
    let racers = (0..2).map(|_| {
        let machine = Arc::clone(&machine);
        Box::new(move || end(machine.try_acquire().expect("closed"), Outcome::Failure)) as Racer<()>
    });
    race(racers.collect());
    assert_eq!(machine.state(), State::Open, "a failure is lost");
    let told = std::iter::from_fn(|| told.next().now_or_never().flatten()).count();
    assert_eq!(told, 1, "each transition is told once");
}

#[test]
fn failures_in_a_row_open_it_once() {
    every_interleaving(|| {
        failures_open(Policy {
            failure_threshold: 2,
            open_state_timeout: Duration::from_secs(60),
            ..policy(1)
        });
    });
}

#[test]
fn a_share_of_failures_opens_it_once() {
    every_interleaving(|| {
        failures_open(Policy {
            failure_threshold: 100,
            minimum_calls: 2,
            failure_rate_threshold: 1.0,
            open_state_timeout: Duration::from_secs(60),
            ..policy(1)
        });
    });
}

/// Two threads of the present phase count, and one that was held up since an earlier phase.
fn counts_of_a_phase(count: impl Fn(u32) -> u32 + Send + Sync + 'static, read: impl FnOnce(u32) -> u32) {
    let count = Arc::new(count);
    let racers = [3, 3, 1].map(|generation| {
        let count = Arc::clone(&count);
        Box::new(move || count(generation)) as Racer<u32>
    });
    let counts = race(racers.into());
    assert_eq!(read(3), 2, "a count is lost");
    assert!(counts.contains(&2), "somebody sees them all");
}

#[test]
fn no_count_of_a_phase_is_lost() {
    every_interleaving(|| {
        let count = Arc::new(TaggedCount::default());
        let counting = Arc::clone(&count);
        counts_of_a_phase(
            move |generation| counting.increment(generation),
            |generation| count.read(generation),
        );
    });
}

#[test]
fn a_count_that_is_read_and_written_apart_is_found_out() {
    some_interleaving_fails(|| {
        let count = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&count);
        counts_of_a_phase(
            move |generation| {
                if generation != 3 {
                    return 0;
                }
                let next = counting.load(Ordering::SeqCst) + 1;
                counting.store(next, Ordering::SeqCst);
                next as u32
            },
            |_| count.load(Ordering::SeqCst) as u32,
        );
    });
}

/// Three threads record calls, one of them a whole round later in the same bucket; the present step must hold its own, and
/// never more than there were.
fn calls_of_a_window(record: impl Fn(u32) + Send + Sync + 'static, calls: impl FnOnce(u32) -> u64) {
    let record = Arc::new(record);
    let later = 1 + BUCKETS as u32;
    let racers = [later, later, 1].map(|tick| {
        let record = Arc::clone(&record);
        Box::new(move || record(tick)) as Racer<()>
    });
    race(racers.into());
    let calls = calls(later);
    assert!((2..=3).contains(&calls), "{calls} calls in the window");
}

#[test]
fn no_call_in_the_window_is_lost() {
    every_interleaving(|| {
        let window = Arc::new(Window::default());
        let recording = Arc::clone(&window);
        calls_of_a_window(
            move |tick| recording.record(tick, true, false),
            |tick| {
                let totals = window.totals(tick);
                assert!((2..=3).contains(&totals.failures), "{totals:?}");
                totals.calls
            },
        );
    });
}

#[test]
fn a_window_that_clears_a_bucket_and_counts_then_is_found_out() {
    some_interleaving_fails(|| {
        let (written, calls) = (AtomicU64::new(1), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&calls);
        calls_of_a_window(
            move |tick| {
                if written.load(Ordering::SeqCst) < u64::from(tick) {
                    written.store(tick.into(), Ordering::SeqCst);
                    counted.store(0, Ordering::SeqCst);
                }
                if u64::from(tick) > 1 {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
            },
            |_| calls.load(Ordering::SeqCst),
        );
    });
}

#[test]
fn a_window_of_another_length_counts_at_once() {
    every_interleaving(|| {
        let short = Policy {
            failure_threshold: 100,
            window_length: Duration::from_nanos(2),
            ..policy(1)
        };
        let machine = machine(short.clone());
        tokio::time::advance(Duration::from_millis(1)).now_or_never();
        let (counting, applying) = (Arc::clone(&machine), Arc::clone(&machine));
        race(vec![
            Box::new(move || end(counting.try_acquire().expect("closed"), Outcome::Failure)) as Racer<()>,
            Box::new(move || {
                applying.apply(&Arc::new(Policy {
                    window_length: Duration::from_secs(60),
                    ..short
                }));
            }),
        ]);
        let before = machine.counts().window.failures;
        end(machine.try_acquire().expect("closed"), Outcome::Failure);
        assert_eq!(
            machine.counts().window.failures,
            before + 1,
            "a call after the change is lost"
        );
    });
}
