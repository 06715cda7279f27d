//! Many clients contend for one lock while faults happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use infra_core::coordination::{FencingToken, LockGuard, LockOptions, Locks};
use infra_core::{Error, ErrorKind};
use tokio::time::{Instant, sleep, timeout};

use super::progress::Progress;
use super::{Fault, Verdict, Violation};

/// How often a holder looks whether it is alone.
const LOOK: Duration = Duration::from_millis(2);

/// How long an operation may take beyond its own bound, on a machine that compiles at the same time.
const SLACK: Duration = Duration::from_secs(20);

/// What is played.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Contention {
    /// The lock.
    pub key: String,
    /// How often the lock is to be held.
    pub rounds: usize,
    /// The lock's time to live.
    pub ttl: Duration,
    /// The longest that a client holds it; how long it really does is drawn.
    pub hold: Duration,
    /// A client, counted from 0, that holds it for twice its time to live every fourth time, and does not look whether it lost it: so
    /// that a fault finds a holder, and a stale one goes to the store.
    pub slow: Option<usize>,
    /// How long nothing is disturbed after a fault.
    pub pause: Duration,
}

impl Contention {
    /// So many rounds of a lock with this time to live, held up to a twentieth of it, with as long as it between faults.
    #[must_use]
    pub fn new(key: impl Into<String>, rounds: usize, ttl: Duration) -> Self {
        Self {
            key: key.into(),
            rounds,
            ttl,
            hold: ttl / 20,
            slow: None,
            pause: ttl,
        }
    }

    /// The same, held up to so long.
    #[must_use]
    pub fn with_hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// The same with this client, counted from 0, as the slow one.
    #[must_use]
    pub fn with_slow_client(mut self, client: usize) -> Self {
        self.slow = Some(client);
        self
    }

    /// The same with this pause after each fault.
    #[must_use]
    pub fn with_pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }
}

/// What was seen in a campaign in which nothing was violated.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// How often the lock was held.
    pub rounds: usize,
    /// How many faults were played.
    pub faults: usize,
    /// How many holders learnt that they had lost the lock.
    pub lost: usize,
    /// How many writes the guarded store refused because of a token that was too small.
    pub refused: usize,
    /// How many calls failed, by the kind of their error.
    pub errors: BTreeMap<&'static str, usize>,
}

/// Lets every client acquire, hold and release the lock until there were enough rounds and each fault was played.
///
/// While a client holds the lock it reads a value from a guarded store, waits, looks again and again whether another client believes
/// that it holds the lock, and writes the value back, one greater.
///
/// # Errors
/// The [`Violation`]: two holders at one instant, a token that does not increase, a lost update, a call that hangs, a client that cannot
/// get the lock after the last fault.
pub async fn contend(clients: &[Arc<dyn Locks>], faults: &[Fault], plan: &Contention) -> Verdict<Report> {
    let ground = Arc::new(Ground {
        progress: Progress::new(plan.rounds),
        record: Mutex::default(),
    });
    let worker = |(number, client): (usize, &Arc<dyn Locks>)| {
        let slow = plan.slow == Some(number);
        tokio::spawn(work(Arc::clone(client), plan.clone(), slow, Arc::clone(&ground)))
    };
    let workers: Vec<_> = clients.iter().enumerate().map(worker).collect();
    let inflicted = ground
        .progress
        .disturb(faults, plan.pause, SLACK * 2 + plan.ttl * 2)
        .await;
    for worker in join_all(workers).await {
        if let Err(error) = worker {
            ground.progress.violate(format!("a client panicked: {error}"));
        }
    }
    ground.progress.verdict()?;
    everyone_gets_it(clients, plan).await?;
    ground.finish(inflicted)
}

/// One client's rounds.
async fn work(client: Arc<dyn Locks>, plan: Contention, slow: bool, ground: Arc<Ground>) {
    let mut held = 0_usize;
    let wait = plan.ttl * 2;
    while !ground.progress.is_over() {
        let options = LockOptions::new(plan.ttl).with_wait(wait);
        let Ok(acquired) = timeout(wait + SLACK, client.acquire(&plan.key, options)).await else {
            return ground.progress.violate(format!(
                "`acquire` was to wait {wait:?} and has not returned {SLACK:?} later"
            ));
        };
        match acquired {
            Ok(guard) => {
                let long = slow && held.is_multiple_of(4);
                held += 1;
                let time = if long {
                    plan.ttl * 2
                } else {
                    plan.hold.mul_f64(fastrand::f64())
                };
                hold(guard, time, plan.ttl, &ground).await;
            }
            Err(error) => {
                ground.note(&error);
                sleep(plan.ttl / 40).await;
            }
        }
    }
}

/// Holds the lock, uses the store, and gives the lock back.
async fn hold(guard: LockGuard, time: Duration, ttl: Duration, ground: &Ground) {
    let (token, guard) = (guard.fencing_token(), Arc::new(guard));
    ground.enter(&guard);
    let read = ground.record().store.read(token);
    let until = Instant::now() + time;
    while Instant::now() < until {
        sleep(LOOK).await;
        ground.look(&guard);
    }
    if let Some(value) = read {
        ground.record().store.write(token, value + 1);
    }
    let lost = ground.leave(&guard);
    ground.progress.round();
    let Some(guard) = Arc::into_inner(guard) else {
        return ground
            .progress
            .violate("a guard is still in the record after its round");
    };
    if lost {
        return;
    }
    match timeout(SLACK + ttl, guard.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => ground.note(&error),
        Err(_) => ground.progress.violate("`release` hangs"),
    }
}

/// After the last fault, each client in turn.
async fn everyone_gets_it(clients: &[Arc<dyn Locks>], plan: &Contention) -> Verdict<()> {
    let bound = plan.ttl * 3 + SLACK;
    for (number, client) in clients.iter().enumerate() {
        let attempt = async {
            loop {
                let options = LockOptions::new(plan.ttl).with_wait(plan.ttl * 2);
                match client.acquire(&plan.key, options).await {
                    Ok(guard) => return guard.release().await,
                    Err(_) => sleep(plan.ttl / 40).await,
                }
            }
        };
        if timeout(bound, attempt).await.is_err() {
            return Err(Violation::new(format!(
                "client {number} cannot get the lock {bound:?} after the last fault"
            )));
        }
    }
    Ok(())
}

struct Ground {
    progress: Progress,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    /// The guards of those who have acquired the lock and not begun to release it.
    holders: Vec<Arc<LockGuard>>,
    /// The greatest token of a guard that was valid when it came.
    greatest: Option<FencingToken>,
    tokens: BTreeSet<FencingToken>,
    stale: Vec<FencingToken>,
    store: Store,
    lost: usize,
    errors: BTreeMap<&'static str, usize>,
}

impl Ground {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, error: &Error) {
        *self.record().errors.entry(error.kind().name()).or_default() += 1;
        if matches!(error.kind(), ErrorKind::Internal | ErrorKind::InvalidArgument) {
            self.progress
                .violate(format!("a fault of the network shows as {error}"));
        }
    }

    fn enter(&self, guard: &Arc<LockGuard>) {
        let token = guard.fencing_token();
        let mut record = self.record();
        self.is_alone(&record, guard);
        if !record.tokens.insert(token) {
            self.progress
                .violate(format!("the token {token} was given twice"));
        }
        let greatest = record.greatest;
        if is_valid(guard) {
            if greatest.is_some_and(|greatest| greatest >= token) {
                self.progress.violate(format!(
                    "the token {token} came after {} and does not exceed it",
                    greatest.unwrap_or(token)
                ));
            }
            record.greatest = greatest.max(Some(token));
        }
        record.holders.push(Arc::clone(guard));
    }

    fn look(&self, guard: &Arc<LockGuard>) {
        self.is_alone(&self.record(), guard);
    }

    /// Whoever else believes at this instant; a guard that was found valid before and after the other one was valid at its instant.
    fn is_alone(&self, record: &Record, guard: &Arc<LockGuard>) {
        let others = record.holders.iter().filter(|other| !Arc::ptr_eq(other, guard));
        for other in others {
            if is_valid(other) && is_valid(guard) && is_valid(other) {
                self.progress.violate(format!(
                    "two hold the lock at one instant, with the tokens {} and {}",
                    other.fencing_token(),
                    guard.fencing_token()
                ));
            }
        }
    }

    /// Whether the lock was lost meanwhile.
    fn leave(&self, guard: &Arc<LockGuard>) -> bool {
        let mut record = self.record();
        self.is_alone(&record, guard);
        record.holders.retain(|holder| !Arc::ptr_eq(holder, guard));
        let lost = !is_valid(guard);
        if lost {
            record.lost += 1;
            record.stale.push(guard.fencing_token());
        }
        lost
    }

    fn finish(&self, faults: usize) -> Verdict<Report> {
        let mut record = self.record();
        let Record { store, stale, .. } = &mut *record;
        for token in stale.iter() {
            if store.highest > Some(*token) && store.read(*token).is_some() {
                return Err(Violation::new(format!("the store takes the stale token {token}")));
            }
        }
        if store.value != store.accepted {
            return Err(Violation::new(format!(
                "{} of {} writes were lost: a token did not tell the old holder from the new one",
                store.accepted - store.value,
                store.accepted
            )));
        }
        Ok(Report {
            rounds: self.progress.done(),
            faults,
            lost: record.lost,
            refused: record.store.refused,
            errors: record.errors.clone(),
        })
    }
}

fn is_valid(guard: &LockGuard) -> bool {
    guard.check().is_ok()
}

/// What the lock protects: a number, and the greatest token that was shown to it.
#[derive(Debug, Default)]
struct Store {
    highest: Option<FencingToken>,
    value: usize,
    accepted: usize,
    refused: usize,
}

impl Store {
    fn admits(&mut self, token: FencingToken) -> bool {
        if self.highest > Some(token) {
            self.refused += 1;
            return false;
        }
        self.highest = Some(token);
        true
    }

    fn read(&mut self, token: FencingToken) -> Option<usize> {
        self.admits(token).then_some(self.value)
    }

    fn write(&mut self, token: FencingToken, value: usize) {
        if self.admits(token) {
            self.value = value;
            self.accepted += 1;
        }
    }
}
