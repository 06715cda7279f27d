//! Instance ids that are broken on purpose.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::capability::{Capabilities, Limits};
use infra_core::coordination::{InstanceId, InstanceIds};
use infra_core::lease::{Lease, LeaseKeeper, LeaseOptions};
use infra_core::{Backend, Error, ErrorKind, Result, async_trait};
use infra_testkit::conformance::{self, Breakage, Disturbance, Fixture, Mode, play, prove};
use tokio::time::Instant;

use crate::support::locked;

pub(crate) const FAMILY: &str = "instance_ids";

const LEASE: Duration = Duration::from_secs(30);
const REST: Duration = Duration::from_secs(5);
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

#[test]
fn the_server_without_a_defect_keeps_the_contract() {
    for scenario in conformance::instance_ids::SCENARIOS {
        let report = play(scenario, Mode::Bare, |_| async { Ok(fixture(Defect::Nothing)) });
        let outcome = report.expect("a runtime").outcome;
        assert!(outcome.is_ok(), "{scenario:?}: {outcome:?}");
    }
}

#[test]
#[rustfmt::skip] // a table
fn every_scenario_notices_its_defect_and_no_other() {
    prove(
        conformance::instance_ids::SCENARIOS,
        &[
            broken("INSTANCE-001", Defect::ExcludesTheEnd, "takes the end of a range for excluded"),
            broken("INSTANCE-002", Defect::ReadsThenWrites, "chooses and takes a number in two steps"),
            broken("INSTANCE-003", Defect::TrimsSlashes, "takes service names for paths and trims slashes"),
            broken("INSTANCE-004", Defect::ExhaustedIsConflict, "calls an exhausted range a conflict"),
            broken("INSTANCE-005", Defect::AsksBeforeChecking, "asks the server before it checks the arguments"),
            broken("INSTANCE-006", Defect::DoesNotExtend, "says yes to renewals and extends nothing"),
            broken("INSTANCE-007", Defect::DoesNotRest, "hands a number out again at once"),
            broken("INSTANCE-008", Defect::RestsForEver, "lets what was given back rest for ever"),
            broken("INSTANCE-009", Defect::FreesEarly, "gives a number away before its lease is over"),
            broken("INSTANCE-010", Defect::HidesLoss, "renews for whoever lost the number"),
            broken("INSTANCE-011", Defect::ReleasesForeign, "releases without comparing the owner"),
            broken("INSTANCE-012", Defect::GivesUpAtOnce, "takes one failed renewal for a loss"),
            broken("INSTANCE-013", Defect::OpenAfterShutdown, "leases numbers after shutdown"),
            broken("INSTANCE-014", Defect::RenewsAfterShutdown, "goes on renewing after shutdown"),
            broken("INSTANCE-015", Defect::AwayIsInternal, "calls an unreachable server an internal error"),
            broken("INSTANCE-016", Defect::FreesLostSessions, "frees the numbers of lost sessions at once"),
        ],
    );
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    Nothing,
    ExcludesTheEnd,
    ReadsThenWrites,
    TrimsSlashes,
    ExhaustedIsConflict,
    AsksBeforeChecking,
    DoesNotExtend,
    DoesNotRest,
    RestsForEver,
    FreesEarly,
    HidesLoss,
    ReleasesForeign,
    GivesUpAtOnce,
    OpenAfterShutdown,
    RenewsAfterShutdown,
    AwayIsInternal,
    FreesLostSessions,
}

fn broken(breaks: &str, defect: Defect, words: &'static str) -> Breakage<dyn InstanceIds> {
    Breakage::new(breaks, words, move |_setup| async move { Ok(fixture(defect)) })
}

fn fixture(defect: Defect) -> Fixture<dyn InstanceIds> {
    let server = Arc::new(Server {
        defect,
        away: AtomicBool::new(false),
        slots: Mutex::default(),
        links: Mutex::default(),
    });
    let disturbed = Arc::clone(&server);
    Fixture::in_process(move || {
        let link = Arc::new(Link::default());
        locked(&server.links).push(Arc::clone(&link));
        let client = Client {
            server: Arc::clone(&server),
            link,
            capabilities: Capabilities::new(Limits::DEFAULT),
        };
        async { Ok(Arc::new(client) as Arc<dyn InstanceIds>) }
    })
    .on_disturbance(move |disturbance| {
        let done = disturbed.disturb(disturbance);
        async move { Ok(done) }
    })
}

#[derive(Debug, Default)]
struct Link {
    cut: AtomicBool,
    closed: AtomicBool,
}

/// Who has a number until when, and from when on another may have it.
#[derive(Debug, Clone)]
struct Slot {
    link: Arc<Link>,
    ends_at: Instant,
    free_at: Instant,
    session_lost: bool,
}

/// The numbers of all services, written plainly so that each defect is one branch.
#[derive(Debug)]
struct Server {
    defect: Defect,
    away: AtomicBool,
    slots: Mutex<HashMap<(String, u16), Slot>>,
    links: Mutex<Vec<Arc<Link>>>,
}

impl Server {
    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn disturb(&self, disturbance: Disturbance) -> bool {
        match disturbance {
            Disturbance::GoAway => self.away.store(true, Ordering::SeqCst),
            Disturbance::ComeBack => self.away.store(false, Ordering::SeqCst),
            Disturbance::Disconnect { client } | Disturbance::Crash { client } => {
                locked(&self.links)[client].cut.store(true, Ordering::SeqCst);
            }
            Disturbance::Reconnect { client } => {
                locked(&self.links)[client].cut.store(false, Ordering::SeqCst);
            }
            Disturbance::RevokeInstanceId { service, number } => {
                let now = Instant::now();
                if let Some(slot) = locked(&self.slots).get_mut(&(service, number)) {
                    (slot.ends_at, slot.free_at) = (now, now + LEASE + REST);
                }
            }
            Disturbance::LoseSessions => self.lose_sessions(),
            _ => return false,
        }
        true
    }

    fn lose_sessions(&self) {
        let now = Instant::now();
        let mut slots = locked(&self.slots);
        if self.is(Defect::FreesLostSessions) {
            return slots.clear();
        }
        for slot in slots.values_mut() {
            (slot.ends_at, slot.free_at) = (now, now + LEASE + REST);
            slot.session_lost = true;
        }
    }

    fn reach(&self, link: &Link) -> Result<()> {
        if !self.away.load(Ordering::SeqCst) && !link.cut.load(Ordering::SeqCst) {
            return Ok(());
        }
        let kind = match self.defect {
            Defect::AwayIsInternal => ErrorKind::Internal,
            _ => ErrorKind::Unavailable,
        };
        Err(Error::new(kind, "connection refused"))
    }

    fn slot(&self, link: &Arc<Link>, now: Instant) -> Slot {
        let ends_at = now + LEASE;
        let free_at = match self.defect {
            Defect::FreesEarly => now + LEASE / 2,
            _ => ends_at + REST,
        };
        Slot {
            link: Arc::clone(link),
            ends_at,
            free_at,
            session_lost: false,
        }
    }

    fn choose(&self, service: &str, range: RangeInclusive<u16>) -> Result<u16> {
        let now = Instant::now();
        let slots = locked(&self.slots);
        let last = *range.end();
        let excludes = self.is(Defect::ExcludesTheEnd) && range.len() > 1;
        let mut numbers = range.filter(|number| !excludes || *number != last);
        let free = numbers.find(|number| {
            let slot = slots.get(&(service.to_owned(), *number));
            slot.is_none_or(|slot| slot.free_at <= now)
        });
        let kind = match self.defect {
            Defect::ExhaustedIsConflict => ErrorKind::Conflict,
            _ => ErrorKind::ResourceExhausted,
        };
        free.ok_or_else(|| Error::new(kind, "every number is taken"))
    }
}

#[derive(Debug)]
struct Client {
    server: Arc<Server>,
    link: Arc<Link>,
    capabilities: Capabilities,
}

#[async_trait]
impl Backend for Client {
    fn backend(&self) -> &'static str {
        "broken"
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn health(&self) -> Result<()> {
        if self.link.closed.load(Ordering::SeqCst) {
            return Err(Error::closed("this client"));
        }
        self.server.reach(&self.link)
    }

    async fn shutdown(&self, _: Duration) -> Result<()> {
        self.link.closed.store(true, Ordering::SeqCst);
        if !self.server.is(Defect::RenewsAfterShutdown) {
            let now = Instant::now();
            for slot in locked(&self.server.slots).values_mut() {
                if Arc::ptr_eq(&slot.link, &self.link) {
                    (slot.ends_at, slot.free_at) = (now, now + REST);
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl InstanceIds for Client {
    async fn acquire_instance_id(&self, service: &str, range: RangeInclusive<u16>) -> Result<InstanceId> {
        if self.server.is(Defect::AsksBeforeChecking) {
            self.health().await?;
        }
        if service.is_empty() || range.is_empty() {
            return Err(Error::invalid_argument("give a service and a range"));
        }
        if self.server.is(Defect::OpenAfterShutdown) {
            self.server.reach(&self.link)?;
        } else {
            self.health().await?;
        }
        let service = match self.server.defect {
            Defect::TrimsSlashes => service.trim_end_matches('/'),
            _ => service,
        };
        let number = self.server.choose(service, range)?;
        if self.server.is(Defect::ReadsThenWrites) {
            tokio::task::yield_now().await;
        }
        let now = Instant::now();
        let place = (service.to_owned(), number);
        locked(&self.server.slots).insert(place.clone(), self.server.slot(&self.link, now));
        let keeper = Arc::new(Keeper {
            server: Arc::clone(&self.server),
            link: Arc::clone(&self.link),
            place,
        });
        Ok(InstanceId::new(
            number,
            Lease::keep(keeper, LeaseOptions::new(LEASE), now),
        ))
    }
}

#[derive(Debug)]
struct Keeper {
    server: Arc<Server>,
    link: Arc<Link>,
    place: (String, u16),
}

impl Keeper {
    /// Whether the number was taken away, as opposed to a lease that ran out.
    fn is_revoked(&self) -> bool {
        let slots = locked(&self.server.slots);
        slots
            .get(&self.place)
            .is_none_or(|slot| slot.free_at - slot.ends_at > REST)
    }

    fn is_session_lost(&self) -> bool {
        let slots = locked(&self.server.slots);
        slots.get(&self.place).is_some_and(|slot| slot.session_lost)
    }

    /// Puts another slot in the place of ours, if it is still ours.
    fn replace(&self, slot: Slot) -> Result<()> {
        let mut slots = locked(&self.server.slots);
        match slots.get_mut(&self.place) {
            Some(held) if Arc::ptr_eq(&held.link, &self.link) && held.ends_at > Instant::now() => {
                *held = slot;
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::LeaseLost, "the number is not ours")),
        }
    }
}

#[async_trait]
impl LeaseKeeper for Keeper {
    async fn renew(&self) -> Result<()> {
        match (self.server.reach(&self.link), self.server.defect) {
            (Err(_), Defect::GivesUpAtOnce) => {
                return Err(Error::new(ErrorKind::LeaseLost, "no answer to a renewal"));
            }
            (reached, _) => reached?,
        }
        let open = !self.link.closed.load(Ordering::SeqCst);
        if open && self.server.is(Defect::DoesNotExtend) && !self.is_revoked() {
            return Ok(());
        }
        match self.replace(self.server.slot(&self.link, Instant::now())) {
            // Of a lost session it learns by other means.
            Err(_) if open && self.server.is(Defect::HidesLoss) && !self.is_session_lost() => Ok(()),
            answer => answer,
        }
    }

    async fn release(&self) -> Result<()> {
        self.server.reach(&self.link)?;
        let now = Instant::now();
        let rest = match self.server.defect {
            Defect::DoesNotRest => Duration::ZERO,
            Defect::RestsForEver => FOR_EVER,
            _ => REST,
        };
        let resting = Slot {
            link: Arc::clone(&self.link),
            ends_at: now,
            free_at: now + rest,
            session_lost: false,
        };
        match self.replace(resting) {
            Err(_) if self.server.is(Defect::ReleasesForeign) => Ok(()),
            answer => answer,
        }
    }
}
