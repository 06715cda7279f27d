//! Ids that are broken on purpose.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, UNIX_EPOCH};

use infra_core::coordination::InstanceId;
use infra_core::uid::{Clock, SnowflakeParts, UidConfig, UidProvider};
use infra_core::{Error, ErrorKind, Result};
use infra_testkit::conformance::ids::MakesIds;
use infra_testkit::conformance::{self, Breakage, Fixture, prove};
use uuid::Uuid;

use crate::support::locked;

pub(crate) const FAMILY: &str = "ids";

#[test]
fn every_scenario_notices_its_defect_and_no_other() {
    use Defect::*;
    prove(
        conformance::ids::SCENARIOS,
        &[
            broken(
                "ID-001",
                ReadsThenWrites,
                "reads and writes its last id in two steps",
            ),
            broken(
                "ID-002",
                SequenceRunsOn,
                "lets the sequence run on and wrap within a millisecond",
            ),
            broken(
                "ID-003",
                GivesTwiceAMillisecond,
                "begins the sequence anew within a millisecond",
            ),
            broken("ID-004", TimeOneOff, "tells a time that is a millisecond late"),
            broken("ID-005", TakesNegativesApart, "takes negative numbers apart"),
            broken("ID-006", AllowsOneMore, "gives 4097 ids at once"),
            broken("ID-007", RandomUuids, "makes UUIDs of version 4"),
            broken(
                "ID-008",
                RefusesAnyStep,
                "refuses ids when the clock is a millisecond behind",
            ),
            broken(
                "ID-009",
                IgnoresFarSteps,
                "goes on from its last id however far the clock is behind",
            ),
            broken("ID-010", IgnoresTheLease, "goes on without its lease"),
            broken(
                "ID-011",
                NeverRecovers,
                "gives no id any more once the clock was behind",
            ),
            broken("ID-012", InstanceFirst, "puts the instance before the time"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Defect {
    ReadsThenWrites,
    SequenceRunsOn,
    GivesTwiceAMillisecond,
    TimeOneOff,
    TakesNegativesApart,
    AllowsOneMore,
    RandomUuids,
    RefusesAnyStep,
    IgnoresFarSteps,
    IgnoresTheLease,
    NeverRecovers,
    InstanceFirst,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn MakesIds> {
    Breakage::new(breaks, words, move |_setup| async move {
        Ok(Fixture::in_process(move || async move {
            Ok(Arc::new(Maker(defect)) as Arc<dyn MakesIds>)
        }))
    })
}

#[derive(Debug)]
struct Maker(Defect);

impl MakesIds for Maker {
    fn ids(
        &self,
        instance: InstanceId,
        config: UidConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<dyn UidProvider>> {
        Ok(Arc::new(Plain {
            defect: self.0,
            instance,
            epoch: config.epoch_unix_millis(),
            max_wait: config.max_wait,
            clock,
            last: Mutex::default(),
            racy: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            reading: Mutex::default(),
            read: Condvar::new(),
        }))
    }
}

/// The millisecond of the last id, its sequence, and how many were given in it.
#[derive(Debug, Default)]
struct Last {
    millis: u64,
    sequence: u64,
    given: u64,
    stuck: bool,
}

/// Snowflakes behind a mutex, written plainly so that each defect is one branch.
#[derive(Debug)]
struct Plain {
    defect: Defect,
    instance: InstanceId,
    epoch: u64,
    max_wait: Duration,
    clock: Arc<dyn Clock>,
    last: Mutex<Last>,
    racy: AtomicU64,
    calls: AtomicU64,
    /// Who has read its last id and not written it, and which id it makes of it.
    reading: Mutex<Option<(ThreadId, u64)>>,
    read: Condvar,
}

const SEQUENCES: u64 = 4096;

/// More calls than any scenario makes that has one thread.
const ALONE: u64 = 20_000;

/// How long a thread may not run on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

impl Plain {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn now(&self) -> u64 {
        self.clock.since_unix_epoch().as_millis() as u64 - self.epoch
    }

    fn id(&self, millis: u64, sequence: u64) -> i64 {
        let instance = u64::from(self.instance.id());
        let id = if self.is(Defect::InstanceFirst) {
            instance << 53 | millis << 12 | sequence
        } else {
            millis << 22 | instance << 12 | sequence
        };
        id as i64
    }

    /// The next millisecond and sequence, by way of a number that is read and written in two steps.
    fn race(&self) -> i64 {
        let floor = self.now() * SEQUENCES;
        let mut next = (self.racy.load(Ordering::SeqCst) + 1).max(floor);
        let thread = std::thread::current().id();
        let mut reading = locked(&self.reading);
        if self.calls.fetch_add(1, Ordering::SeqCst) == ALONE {
            // Between its steps it waits for another thread, instead of for luck.
            *reading = Some((thread, next));
            let met = self
                .read
                .wait_timeout_while(reading, PATIENCE, |reading| reading.is_some());
            drop(met.unwrap_or_else(PoisonError::into_inner));
        } else if let Some((_, same)) = reading.take_if(|(other, _)| *other != thread) {
            next = same;
            self.read.notify_all();
        }
        self.racy.store(next, Ordering::SeqCst);
        self.id(next / SEQUENCES, next % SEQUENCES)
    }

    fn wait_until(&self, millis: u64) {
        while let Some(wait) = millis.checked_sub(self.now()).filter(|wait| *wait > 0) {
            self.clock.pause(Duration::from_millis(wait));
        }
    }

    /// Refuses ids without a lease, or with a clock that is too far behind; whether it was the clock.
    fn refuse(&self, last: u64) -> Result<bool> {
        if self.instance.is_lost() && !self.is(Defect::IgnoresTheLease) {
            return Err(Error::new(ErrorKind::LeaseLost, "the number is another's"));
        }
        let behind = Duration::from_millis(last.saturating_sub(self.now()));
        let tolerated = if self.is(Defect::RefusesAnyStep) {
            Duration::ZERO
        } else {
            self.max_wait
        };
        Ok(behind > tolerated && !self.is(Defect::IgnoresFarSteps))
    }

    fn one(&self, last: &mut Last) -> Result<i64> {
        if self.refuse(last.millis)? || last.stuck {
            last.stuck = self.is(Defect::NeverRecovers);
            return Err(behind());
        }
        if !self.is(Defect::IgnoresFarSteps) {
            self.wait_until(last.millis);
        }
        let now = self.now().max(last.millis);
        let most = if self.is(Defect::GivesTwiceAMillisecond) {
            2 * SEQUENCES
        } else {
            SEQUENCES
        };
        if now > last.millis {
            self.enter(last, now);
        } else if last.given >= most {
            self.wait_until(now + 1);
            self.enter(last, now + 1);
        } else {
            last.sequence = (last.sequence + 1) % SEQUENCES;
            last.given += 1;
        }
        Ok(self.id(last.millis, last.sequence))
    }

    fn enter(&self, last: &mut Last, millis: u64) {
        let sequence = if self.is(Defect::SequenceRunsOn) {
            (last.sequence + 1) % SEQUENCES
        } else {
            0
        };
        *last = Last {
            millis,
            sequence,
            given: 1,
            stuck: false,
        };
    }
}

fn behind() -> Error {
    Error::new(ErrorKind::Unavailable, "the clock is behind")
}

impl UidProvider for Plain {
    fn uuid(&self) -> Uuid {
        if self.is(Defect::RandomUuids) {
            Uuid::new_v4()
        } else {
            Uuid::now_v7()
        }
    }

    fn snowflake(&self) -> Result<i64> {
        if self.is(Defect::ReadsThenWrites) {
            if self.refuse(self.racy.load(Ordering::SeqCst) / SEQUENCES)? {
                return Err(behind());
            }
            return Ok(self.race());
        }
        self.one(&mut locked(&self.last))
    }

    fn snowflakes(&self, count: usize) -> Result<Vec<i64>> {
        if count as u64 > SEQUENCES + u64::from(self.is(Defect::AllowsOneMore)) {
            return Err(Error::invalid_argument("too many at once"));
        }
        let mut last = locked(&self.last);
        // Several at once are right: they begin with a millisecond of their own.
        if self.is(Defect::SequenceRunsOn) || self.is(Defect::GivesTwiceAMillisecond) {
            last.sequence = SEQUENCES - 1;
            last.given = 2 * SEQUENCES;
        }
        (0..count).map(|_| self.one(&mut last)).collect()
    }

    fn parse_snowflake(&self, id: i64) -> Result<SnowflakeParts> {
        if id < 0 && !self.is(Defect::TakesNegativesApart) {
            return Err(Error::invalid_argument("no id"));
        }
        let id = id as u64;
        let (millis, instance) = if self.is(Defect::InstanceFirst) {
            (id >> 12 & ((1 << 41) - 1), id >> 53)
        } else {
            (id >> 22, id >> 12 & 1023)
        };
        let late = u64::from(self.is(Defect::TimeOneOff));
        let time = UNIX_EPOCH + Duration::from_millis(self.epoch) + Duration::from_millis(millis + late);
        Ok(SnowflakeParts::new(
            time,
            instance as u16,
            (id % SEQUENCES) as u16,
        ))
    }
}
