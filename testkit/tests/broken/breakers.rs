//! Breakers that are broken on purpose.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_core::breaker::{
    Breaker, BreakerConfig, BreakerProvider, Force, Outcome, Permit, Policy, Settlement, State, Ticket,
};
use infra_core::{Error, ErrorKind, Result, Retry};
use infra_testkit::conformance::breakers::MakesBreakers;
use infra_testkit::conformance::{self, Breakage, Fixture, prove};
use tokio::time::Instant;

pub(crate) const FAMILY: &str = "breakers";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::breakers::SCENARIOS,
        &[
            broken("BREAKER-001", OpensOneLate, "needs one failure more"),
            broken("BREAKER-002", MinimumOneLess, "looks at the share one call early"),
            broken(
                "BREAKER-003",
                SaysWholeTime,
                "says the whole time open where it should say what is left",
            ),
            broken(
                "BREAKER-004",
                SuccessForgivesOne,
                "takes a success for the end of one failure, not of the row",
            ),
            broken("BREAKER-005", CountsConflict, "counts conflicts as failures"),
            broken("BREAKER-006", NeverForgets, "never lets a call leave its window"),
            broken("BREAKER-007", IgnoresSlow, "does not see that calls are slow"),
            broken(
                "BREAKER-008",
                CancelledIsFailure,
                "counts cancelled calls as failures",
            ),
            broken(
                "BREAKER-009",
                FoldsNames,
                "takes names that differ in case for one",
            ),
            broken("BREAKER-010", OneProbeMore, "lets one probe too many pass"),
            broken("BREAKER-011", LeaksPlaces, "keeps the place of a dropped probe"),
            broken("BREAKER-012", ClosesLate, "needs one successful probe more"),
            broken(
                "BREAKER-013",
                ReopensBriefly,
                "opens for half the time after a failed probe",
            ),
            broken("BREAKER-014", ProbesForever, "gives probes no time limit"),
            broken("BREAKER-015", HearsTheLate, "takes a late call for a probe"),
            broken(
                "BREAKER-016",
                ForgetsWhenForced,
                "begins anew when it was overruled",
            ),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    OpensOneLate,
    MinimumOneLess,
    SaysWholeTime,
    SuccessForgivesOne,
    CountsConflict,
    NeverForgets,
    IgnoresSlow,
    CancelledIsFailure,
    FoldsNames,
    OneProbeMore,
    LeaksPlaces,
    ClosesLate,
    ReopensBriefly,
    ProbesForever,
    HearsTheLate,
    ForgetsWhenForced,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn MakesBreakers> {
    Breakage::new(breaks, words, move |_setup| async move {
        Ok(Fixture::in_process(move || async move {
            Ok(Arc::new(Maker(defect)) as Arc<dyn MakesBreakers>)
        }))
    })
}

#[derive(Debug)]
struct Maker(Defect);

impl MakesBreakers for Maker {
    fn breakers(&self, config: BreakerConfig) -> Result<Arc<dyn BreakerProvider>> {
        Ok(Arc::new(Provider {
            defect: self.0,
            policy: config.default_policy,
            breakers: Mutex::default(),
        }))
    }
}

#[derive(Debug)]
struct Provider {
    defect: Defect,
    policy: Policy,
    breakers: Mutex<HashMap<String, Arc<Plain>>>,
}

impl BreakerProvider for Provider {
    fn breaker(&self, name: &str) -> Arc<dyn Breaker> {
        let name = if self.defect == Defect::FoldsNames {
            name.to_lowercase()
        } else {
            name.to_owned()
        };
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let breaker = breakers.entry(name.clone()).or_insert_with(|| {
            Arc::new(Plain {
                name,
                defect: self.defect,
                policy: self.policy.clone(),
                kept: Mutex::new(Kept::new()),
            })
        });
        Arc::<Plain>::clone(breaker)
    }
}

/// A breaker behind a mutex, written plainly so that each defect is one branch.
#[derive(Debug)]
struct Plain {
    name: String,
    defect: Defect,
    policy: Policy,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    state: State,
    since: Instant,
    open_for: Duration,
    generation: u64,
    row: u32,
    window: VecDeque<(Instant, bool, bool)>,
    probes: u32,
    successes: u32,
    force: Force,
}

impl Kept {
    fn new() -> Self {
        Self {
            state: State::Closed,
            since: Instant::now(),
            open_for: Duration::ZERO,
            generation: 1,
            row: 0,
            window: VecDeque::new(),
            probes: 0,
            successes: 0,
            force: Force::Auto,
        }
    }

    fn enter(&mut self, state: State, open_for: Duration) {
        let (force, generation) = (self.force, self.generation + 1);
        *self = Self {
            state,
            open_for,
            generation,
            force,
            ..Self::new()
        };
    }

    fn wake(&mut self) {
        if self.state == State::Open && self.since.elapsed() >= self.open_for {
            self.enter(State::HalfOpen, Duration::ZERO);
        }
    }
}

/// The generation, and in the highest bit whether it is a probe; 0 for calls that are not counted.
const PROBE: u64 = 1 << 63;

impl Plain {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, left: Duration) -> Error {
        Error::new(ErrorKind::CircuitOpen, "open")
            .with_retry(Retry::After(left))
            .without_effect()
    }

    fn closed_call(&self, kept: &mut Kept, failed: bool, slow: bool) {
        let now = Instant::now();
        kept.window.push_back((now, failed, slow));
        if !self.is(Defect::NeverForgets) {
            kept.window
                .retain(|(at, _, _)| now.duration_since(*at) < self.policy.window_length);
        }
        kept.row = match (failed, self.is(Defect::SuccessForgivesOne)) {
            (true, _) => kept.row + 1,
            (false, true) => kept.row.saturating_sub(1),
            (false, false) => 0,
        };
        let calls = kept.window.len();
        let share = |count: usize| count as f64 / calls as f64;
        let failures = kept.window.iter().filter(|(_, failed, _)| *failed).count();
        let slow_ones = kept.window.iter().filter(|(_, _, slow)| *slow).count();
        let enough = calls as u32 + u32::from(self.is(Defect::MinimumOneLess)) >= self.policy.minimum_calls;
        let in_a_row = self.policy.failure_threshold + u32::from(self.is(Defect::OpensOneLate));
        let opens = kept.row >= in_a_row
            || enough && share(failures) >= self.policy.failure_rate_threshold
            || enough && slow_ones > 0 && share(slow_ones) >= self.policy.slow_call_rate_threshold;
        if opens {
            kept.enter(State::Open, self.policy.open_state_timeout);
        }
    }

    fn probe_ended(&self, kept: &mut Kept, failed: bool) {
        kept.probes = kept.probes.saturating_sub(1);
        if failed {
            let whole = self.policy.open_state_timeout;
            kept.enter(
                State::Open,
                if self.is(Defect::ReopensBriefly) {
                    whole / 2
                } else {
                    whole
                },
            );
            return;
        }
        kept.successes += 1;
        if kept.successes >= self.policy.success_threshold + u32::from(self.is(Defect::ClosesLate)) {
            kept.enter(State::Closed, Duration::ZERO);
        }
    }
}

impl Breaker for Plain {
    fn name(&self) -> &str {
        &self.name
    }

    fn try_acquire(&self) -> Result<Permit<'_>> {
        let mut kept = self.lock();
        kept.wake();
        match kept.force {
            Force::Open => return Err(self.refuse(Duration::ZERO)),
            Force::Closed => return Ok(Permit::new(self, Ticket::from_bits(0))),
            Force::Auto => {}
        }
        match kept.state {
            State::Closed => Ok(Permit::new(self, Ticket::from_bits(kept.generation))),
            State::Open if self.is(Defect::SaysWholeTime) => Err(self.refuse(kept.open_for)),
            State::Open => Err(self.refuse(kept.open_for.saturating_sub(kept.since.elapsed()))),
            State::HalfOpen => {
                let places = self.policy.half_open_max_probes + u32::from(self.is(Defect::OneProbeMore));
                if kept.probes >= places {
                    return Err(self.refuse(Duration::ZERO));
                }
                kept.probes += 1;
                let permit = Permit::new(self, Ticket::from_bits(PROBE | kept.generation));
                if self.is(Defect::ProbesForever) {
                    return Ok(permit);
                }
                Ok(permit.with_time_limit(self.policy.probe_timeout))
            }
        }
    }

    fn settle(&self, ticket: Ticket, settlement: Settlement) {
        let mut kept = self.lock();
        let bits = ticket.bits();
        let current = bits & !PROBE == kept.generation;
        let late = !current && self.is(Defect::HearsTheLate) && kept.state == State::HalfOpen;
        if bits == 0 || !(current || late) {
            return;
        }
        let probe = bits & PROBE != 0 || late;
        match settlement {
            Settlement::Released if probe && !self.is(Defect::LeaksPlaces) => {
                kept.probes = kept.probes.saturating_sub(1);
            }
            Settlement::Released if !probe && self.is(Defect::CancelledIsFailure) => {
                self.closed_call(&mut kept, true, false);
            }
            Settlement::Released => {}
            Settlement::Recorded { outcome, elapsed, .. } => {
                let limit = self
                    .policy
                    .slow_call_duration
                    .filter(|_| !self.is(Defect::IgnoresSlow));
                let slow = limit.is_some_and(|limit| elapsed >= limit);
                match outcome {
                    Outcome::Ignored if probe => kept.probes = kept.probes.saturating_sub(1),
                    Outcome::Ignored if self.is(Defect::CountsConflict) => {
                        self.closed_call(&mut kept, true, slow)
                    }
                    Outcome::Ignored => {}
                    ended if probe => self.probe_ended(&mut kept, ended == Outcome::Failure),
                    ended => self.closed_call(&mut kept, ended == Outcome::Failure, slow),
                }
            }
        }
    }

    fn state(&self) -> State {
        let mut kept = self.lock();
        kept.wake();
        match kept.force {
            Force::Open => State::Open,
            Force::Closed => State::Closed,
            Force::Auto => kept.state,
        }
    }

    fn force(&self, force: Force) {
        let mut kept = self.lock();
        if self.is(Defect::ForgetsWhenForced) {
            kept.enter(State::Closed, Duration::ZERO);
        }
        kept.force = force;
    }
}
