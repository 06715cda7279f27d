//! One breaker: a state machine in a few atomic words.
//!
//! `word` holds the phase, when it began and its generation, and changes only by compare-and-swap, so that every transition has
//! exactly one author. Everything counted within a phase carries the generation: what belongs to an earlier phase is recognised
//! and ignored, and nobody has to reset counters at the moment of a transition.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::contract::{Breaker, Force, State};
use super::observe::{Hub, Reason, Reporter, Transition};
use super::permit::{Outcome, Permit, Settlement, Ticket};
use super::policy::Policy;
use super::window::{Totals, Window};
use super::words::{Phase, Place, TaggedCount, TicketKind, Word};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::sync::{ArcSwap, Mutex};

/// The most probes that may be out at once; fewer where every order of events is tried.
pub(super) const MAX_PROBES: usize = if cfg!(all(test, interleave)) { 2 } else { 32 };

/// The breaker of one name; see the module.
#[derive(Debug)]
pub(super) struct Machine {
    name: Arc<str>,
    started: Instant,
    ruling: ArcSwap<Ruling>,
    /// [`Force`] in effect, as a number.
    forced: AtomicU8,
    /// What the operator and the policy ask for; `forced` follows from it.
    forces: Mutex<Forces>,
    word: AtomicU64,
    consecutive_failures: TaggedCount,
    successful_probes: TaggedCount,
    probes: [Place; MAX_PROBES],
    reporter: Reporter,
}

/// The policy in force, and the window that counts in steps of that policy's length: whoever still has an older policy writes
/// into the older window, where steps of another length do no harm.
#[derive(Debug)]
struct Ruling {
    policy: Arc<Policy>,
    window: Arc<Window>,
}

impl Ruling {
    fn new(policy: &Arc<Policy>) -> Self {
        Self {
            policy: Arc::clone(policy),
            window: Arc::default(),
        }
    }

    /// The one that follows. Only a window of another length starts afresh.
    fn followed_by(&self, policy: &Arc<Policy>) -> Self {
        let next = Self::new(policy);
        if policy.window_length == self.policy.window_length {
            return Self {
                window: Arc::clone(&self.window),
                ..next
            };
        }
        next
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Forces {
    operator: Force,
    policy: Force,
}

impl Forces {
    /// The operator's word stands above the policy's.
    fn effective(self) -> Force {
        if self.operator == Force::Auto {
            self.policy
        } else {
            self.operator
        }
    }
}

/// What a breaker has counted, for whoever looks at it from outside.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) consecutive_failures: u32,
    pub(super) window: Totals,
}

impl Machine {
    pub(super) fn new(name: &str, policy: Arc<Policy>, hub: Arc<Hub>) -> Self {
        let machine = Self {
            name: Arc::from(name),
            started: Instant::now(),
            forced: AtomicU8::new(Force::Auto as u8),
            forces: Mutex::new(Forces::default()),
            word: AtomicU64::new(Word::new(Phase::Closed, 0, 0).0),
            consecutive_failures: TaggedCount::default(),
            successful_probes: TaggedCount::default(),
            probes: std::array::from_fn(|_| Place::default()),
            reporter: Reporter::new(hub, name),
            ruling: ArcSwap::from_pointee(Ruling::new(&policy)),
        };
        machine.change_forces(|forces| forces.policy = policy.force);
        machine
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Replaces the policy; phase, counts and probes stay. Only a window of another length starts afresh.
    pub(super) fn apply(&self, policy: &Arc<Policy>) {
        self.ruling.rcu(|old| old.followed_by(policy));
        self.change_forces(|forces| forces.policy = policy.force);
    }

    pub(super) fn counts(&self) -> Counts {
        let word = self.load();
        let ruling = self.ruling.load();
        let tick = Window::tick(self.started.elapsed(), ruling.policy.window_length);
        Counts {
            consecutive_failures: self.consecutive_failures.read(word.generation()),
            window: ruling.window.totals(tick),
        }
    }

    pub(super) fn effective_force(&self) -> Force {
        match self.forced.load(Ordering::Relaxed) {
            number if number == Force::Open as u8 => Force::Open,
            number if number == Force::Closed as u8 => Force::Closed,
            _ => Force::Auto,
        }
    }

    /// Whether forgetting this breaker would lose nothing.
    pub(super) fn is_pristine(&self) -> bool {
        self.effective_force() == Force::Auto
            && self.state() == State::Closed
            && self.counts().consecutive_failures == 0
            && self.counts().window.failures == 0
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    fn millis(&self, at: Instant) -> u64 {
        Word::millis(at.saturating_duration_since(self.started))
    }

    /// Ends `from` for `to`; false when somebody else ended it first.
    fn transition(&self, from: Word, to: Phase, at: Instant, reason: Reason) -> bool {
        let next = Word::new(to, from.generation().wrapping_add(1), self.millis(at));
        if self
            .word
            .compare_exchange(from.0, next.0, Ordering::AcqRel, Ordering::Acquire)
            .is_err()
        {
            return false;
        }
        if to == Phase::Closed {
            // Old failures must not open it again. Calls that end in this very moment may be forgotten with them.
            self.ruling.load().window.clear();
        }
        self.tell(from.phase().state(), to.state(), reason);
        true
    }

    fn tell(&self, from: State, to: State, reason: Reason) {
        let transition = Transition {
            breaker: Arc::clone(&self.name),
            from,
            to,
            reason,
        };
        self.reporter.tell(&transition, || match self.effective_force() {
            Force::Auto => self.load().phase().state(),
            Force::Open => State::Open,
            Force::Closed => State::Closed,
        });
    }

    fn change_forces(&self, change: impl FnOnce(&mut Forces)) {
        let mut forces = self.forces.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state();
        change(&mut forces);
        self.forced.store(forces.effective() as u8, Ordering::Relaxed);
        let after = self.state();
        drop(forces);
        if before != after {
            self.tell(before, after, Reason::Forced);
        }
    }

    /// Applies what time alone decides: the end of the time open, and probes that never ended.
    fn catch_up(&self, now: Instant) -> Word {
        let ruling = self.ruling.load();
        let policy = &ruling.policy;
        loop {
            let word = self.load();
            let ended = match word.phase() {
                Phase::Closed => None,
                Phase::Open if self.left_open(word, now, policy).is_zero() => {
                    Some((Phase::HalfOpen, Reason::OpenStateTimeout))
                }
                Phase::Open => None,
                Phase::HalfOpen => self
                    .has_hung_probe(word, now, policy)
                    .then_some((Phase::Open, Reason::ProbeTimedOut)),
            };
            let Some((to, reason)) = ended else { return word };
            self.transition(word, to, now, reason);
        }
    }

    fn left_open(&self, word: Word, now: Instant, policy: &Policy) -> Duration {
        let open_for = Duration::from_millis(self.millis(now).saturating_sub(word.since()));
        policy.open_state_timeout.saturating_sub(open_for)
    }

    fn has_hung_probe(&self, word: Word, now: Instant, policy: &Policy) -> bool {
        let now = self.millis(now);
        // One step of the clock more: whoever bounds its probe by the limit records the failure itself.
        let limit = Word::millis(policy.probe_timeout).saturating_add(1);
        self.probes
            .iter()
            .filter_map(|place| place.taken_at(word.generation()))
            .any(|taken| now.saturating_sub(taken) > limit)
    }

    /// The way of everybody who does not find the breaker closed.
    #[cold]
    fn acquire_unless_open(&self) -> Result<Permit<'_>> {
        let now = Instant::now();
        loop {
            let word = self.catch_up(now);
            let generation = word.generation();
            let ruling = self.ruling.load();
            let policy = &ruling.policy;
            match word.phase() {
                Phase::Closed => return Ok(Permit::new(self, TicketKind::Counted { generation }.pack())),
                Phase::Open => return Err(self.refused(self.left_open(word, now, policy))),
                Phase::HalfOpen => {}
            }
            let places = (policy.half_open_max_probes as usize).min(MAX_PROBES);
            let place = self.probes[..places]
                .iter()
                .position(|place| place.take(generation, self.millis(now)));
            if self.load().0 != word.0 {
                if let Some(place) = place {
                    self.probes[place].free(generation);
                }
                continue;
            }
            let Some(place) = place else {
                return Err(self.saturated(places));
            };
            let ticket = TicketKind::Probe { generation, place }.pack();
            return Ok(Permit::new(self, ticket).with_time_limit(policy.probe_timeout));
        }
    }

    fn refused(&self, left: Duration) -> Error {
        Error::new(
            ErrorKind::CircuitOpen,
            format!(
                "the circuit breaker {:?} is open and refuses calls for another {left:.1?}",
                self.name
            ),
        )
        .with_retry(Retry::After(left))
        .without_effect()
        .at("breaker", "local", "call")
    }

    fn saturated(&self, places: usize) -> Error {
        Error::new(
            ErrorKind::CircuitOpen,
            format!(
                "the circuit breaker {:?} is half-open and its probes, {places} at once, are all out; ask again when they have ended",
                self.name
            ),
        )
        .with_retry(Retry::Backoff)
        .without_effect()
        .at("breaker", "local", "call")
    }

    fn record(&self, kind: TicketKind, outcome: Outcome, elapsed: Duration, at: Instant) {
        let failed = match outcome {
            Outcome::Ignored => return,
            Outcome::Success => false,
            Outcome::Failure => true,
        };
        if self.effective_force() != Force::Auto {
            return; // what it has counted stays as it is until it decides again
        }
        match kind {
            TicketKind::Counted { generation } => self.record_call(generation, failed, elapsed, at),
            TicketKind::Probe { generation, .. } => self.record_probe(generation, failed, elapsed, at),
            TicketKind::Uncounted => {}
        }
    }

    /// The end of a call that was let through while closed.
    fn record_call(&self, generation: u32, failed: bool, elapsed: Duration, at: Instant) {
        let word = self.load();
        if word.phase() != Phase::Closed || word.generation() != generation {
            return; // it began before the last transition
        }
        let ruling = self.ruling.load();
        let policy = &ruling.policy;
        let slow = policy.slow_call_duration.is_some_and(|limit| elapsed >= limit);
        let tick = Window::tick(at.saturating_duration_since(self.started), policy.window_length);
        ruling.window.record(tick, failed, slow);
        if failed {
            if self.consecutive_failures.increment(generation) >= policy.failure_threshold {
                self.transition(word, Phase::Open, at, Reason::ConsecutiveFailures);
                return;
            }
        } else {
            self.consecutive_failures.reset(generation);
        }
        // A call that was neither can only lower the shares.
        if failed || slow {
            self.check_shares(word, tick, at, &ruling);
        }
    }

    fn check_shares(&self, word: Word, tick: u32, at: Instant, ruling: &Ruling) {
        let policy = &ruling.policy;
        let totals = ruling.window.totals(tick);
        if totals.calls < u64::from(policy.minimum_calls) {
            return;
        }
        let share = |part: u64| part as f64 / totals.calls.max(1) as f64;
        if share(totals.failures) >= policy.failure_rate_threshold {
            self.transition(word, Phase::Open, at, Reason::FailureRate);
        } else if policy.slow_call_duration.is_some() && share(totals.slow) >= policy.slow_call_rate_threshold
        {
            self.transition(word, Phase::Open, at, Reason::SlowCallRate);
        }
    }

    /// The end of a probe.
    fn record_probe(&self, generation: u32, failed: bool, elapsed: Duration, at: Instant) {
        let word = self.load();
        if word.phase() != Phase::HalfOpen || word.generation() != generation {
            return;
        }
        let ruling = self.ruling.load();
        let policy = &ruling.policy;
        if failed || policy.slow_call_duration.is_some_and(|limit| elapsed >= limit) {
            self.transition(word, Phase::Open, at, Reason::ProbeFailed);
        } else if self.successful_probes.increment(generation) >= policy.success_threshold {
            self.transition(word, Phase::Closed, at, Reason::ProbesSucceeded);
        }
    }
}

impl Breaker for Machine {
    fn name(&self) -> &str {
        &self.name
    }

    fn try_acquire(&self) -> Result<Permit<'_>> {
        match self.effective_force() {
            Force::Auto => {}
            Force::Closed => return Ok(Permit::new(self, TicketKind::Uncounted.pack())),
            Force::Open => {
                let error = self.refused(self.ruling.load().policy.open_state_timeout);
                return Err(error.context("held open by an operator or by its policy"));
            }
        }
        let word = self.load();
        if word.phase() == Phase::Closed {
            let generation = word.generation();
            return Ok(Permit::new(self, TicketKind::Counted { generation }.pack()));
        }
        self.acquire_unless_open()
    }

    fn settle(&self, ticket: Ticket, settlement: Settlement) {
        let kind = TicketKind::unpack(ticket);
        if let (Some(kind), Settlement::Recorded { outcome, elapsed, at }) = (kind, settlement) {
            self.record(kind, outcome, elapsed, at);
        }
        // Only now: a probe that took the place while this one's failure is recorded would be out in the next phase too.
        if let Some(TicketKind::Probe { generation, place }) = kind
            && let Some(place) = self.probes.get(place)
        {
            place.free(generation);
        }
    }

    fn state(&self) -> State {
        match self.effective_force() {
            Force::Open => State::Open,
            Force::Closed => State::Closed,
            Force::Auto if self.load().phase() == Phase::Closed => State::Closed,
            Force::Auto => self.catch_up(Instant::now()).phase().state(),
        }
    }

    fn force(&self, force: Force) {
        self.change_forces(|forces| forces.operator = force);
    }
}
