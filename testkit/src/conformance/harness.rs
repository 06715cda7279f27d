//! What a scenario gets to work with: clients, names of its own, time, disturbances.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::error::Result;
use infra_core::intercept::{Recorder, Stack};
use tokio::time::Instant;

use super::disturbance::{Disturbance, Probe};
use super::fixture::{Fixture, Setup, TimeControl};
use super::mode::Mode;
use super::subject::Subject;
use super::verdict::{Failure, Outcome};
use crate::time;

/// What tokio's timer counts in.
const TIMER_TICK: Duration = Duration::from_millis(1);

/// One fresh backend, seen by one run of one scenario.
pub struct Harness<T: ?Sized> {
    fixture: Fixture<T>,
    setup: Setup,
    mode: Mode,
    stack: Stack,
    recorder: Arc<Recorder>,
    clients: AtomicUsize,
}

impl<T: Subject + ?Sized> Harness<T> {
    pub(super) fn new(fixture: Fixture<T>, setup: Setup, mode: Mode) -> Result<Self> {
        let recorder = Arc::new(Recorder::new());
        Ok(Self {
            stack: mode.stack(setup.seed, &recorder)?,
            fixture,
            setup,
            mode,
            recorder,
            clients: AtomicUsize::new(0),
        })
    }

    /// Connects one more client, called as the mode says. Each stands for one process, which has a stack of its own: a breaker that one
    /// of them opens stops no other. The first one is number 0.
    ///
    /// # Errors
    /// The backend's, as a [`Failure`].
    pub async fn client(&self) -> Result<Arc<T>, Failure> {
        let client = self.bare_client().await?;
        self.behind_stack(client)
    }

    /// Connects one more client whose keys lie in these scopes, the outermost first, called as the mode says; or ends the scenario as
    /// skipped where that cannot be done.
    ///
    /// # Errors
    /// The backend's, as a [`Failure`]; or skipped.
    pub async fn scoped_client(&self, scopes: &[&str]) -> Result<Arc<T>, Failure> {
        let path = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let Some(connected) = self.fixture.connect_scoped(path).await else {
            return Err(Failure::skipped(
                "this fixture cannot connect into a scope; see Fixture::on_scope",
            ));
        };
        self.clients.fetch_add(1, Ordering::Relaxed);
        self.behind_stack(connected?)
    }

    fn behind_stack(&self, client: Arc<T>) -> Result<Arc<T>, Failure> {
        let number = self.clients.load(Ordering::Relaxed).saturating_sub(1) as u64;
        let seed = self.setup.seed.wrapping_add(number);
        let stack = self.mode.stack(seed, &self.recorder)?;
        Ok(T::behind(&stack, client))
    }

    /// Connects one more client that is called directly whatever the mode is: for what a scenario does besides the behaviour it proves.
    ///
    /// # Errors
    /// The backend's, as a [`Failure`].
    pub async fn bare_client(&self) -> Result<Arc<T>, Failure> {
        let client = self.fixture.connect().await?;
        self.clients.fetch_add(1, Ordering::Relaxed);
        Ok(client)
    }

    /// The stack of the mode, for what a scenario wraps itself.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// How the backend is called.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How time passes.
    #[must_use]
    pub fn time(&self) -> TimeControl {
        self.fixture.time()
    }

    /// A number that is the same in every run of this scenario in this mode; for random choices.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.setup.seed
    }

    /// A name of this run's own: keys, locks, topics, services, indexes. Letters, digits and underscores if `suffix` has no other.
    #[must_use]
    pub fn name(&self, suffix: &str) -> String {
        format!("{}_{suffix}", self.setup.namespace)
    }

    /// Lets time pass. Where the clock is paused it takes none, and what is due meanwhile happens in its order: a lease of ten seconds is
    /// renewed many times in an hour.
    pub async fn pass(&self, duration: Duration) {
        if self.time() == TimeControl::Real {
            return tokio::time::sleep(duration).await;
        }
        let end = Instant::now() + duration;
        tokio::time::sleep(duration.saturating_sub(TIMER_TICK * 2)).await;
        // A sleep may end a tick late; the rest is exact, and what is due at its end happens before the scenario goes on.
        time::advance(end.saturating_duration_since(Instant::now())).await;
    }

    /// Waits until the condition holds; fails when it does not within `bound`. `what` completes "within … , ".
    ///
    /// # Errors
    /// A [`Failure`] that names `what` and the bound.
    pub async fn eventually<F, R>(&self, bound: Duration, what: &str, condition: F) -> Outcome
    where
        F: FnMut() -> R,
        R: Future<Output = bool>,
    {
        if time::eventually(bound, condition).await {
            return Ok(());
        }
        Err(Failure::broken(format!("{what}: not within {bound:?}")))
    }

    /// Waits for the future; fails when it does not end within `bound`.
    ///
    /// # Errors
    /// A [`Failure`] that names `what` and the bound.
    pub async fn within<R>(
        &self,
        bound: Duration,
        what: &str,
        future: impl Future<Output = R>,
    ) -> Result<R, Failure> {
        tokio::time::timeout(bound, future)
            .await
            .map_err(|_| Failure::broken(format!("{what}: not within {bound:?}")))
    }

    /// Does this to the server, or ends the scenario as skipped where it cannot be done.
    ///
    /// # Errors
    /// A [`Failure`]: skipped, or the disturbance itself failed.
    pub async fn disturb(&self, disturbance: Disturbance) -> Outcome {
        let what = format!("{disturbance:?}");
        if self.fixture.disturb(disturbance).await? {
            return Ok(());
        }
        Err(Failure::skipped(format!(
            "this fixture cannot do {what}; see Fixture::on_disturbance"
        )))
    }

    /// What the server counts, or ends the scenario as skipped where it cannot be seen.
    ///
    /// # Errors
    /// A [`Failure`]: skipped.
    pub fn probe(&self, probe: Probe) -> Result<u64, Failure> {
        let what = format!("{probe:?}");
        self.fixture
            .look(probe)
            .ok_or_else(|| Failure::skipped(format!("this fixture cannot see {what}; see Fixture::on_probe")))
    }

    pub(super) fn retries(&self) -> usize {
        let calls = self.recorder.calls();
        calls.iter().filter(|call| call.attempt > 1).count()
    }

    pub(super) fn into_fixture(self) -> Fixture<T> {
        self.fixture
    }
}

/// Whether the client's backend declares this capability.
#[must_use]
pub fn declares<T: Subject + ?Sized>(client: &T, capability: Capability) -> bool {
    client.declared().is_some_and(|declared| declared.has(capability))
}

/// The sizes and times that the client's backend accepts.
#[must_use]
pub fn limits<T: Subject + ?Sized>(client: &T) -> Limits {
    client
        .declared()
        .map_or(Limits::DEFAULT, |declared: &Capabilities| *declared.limits())
}

impl<T: ?Sized> fmt::Debug for Harness<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("setup", &self.setup)
            .field("mode", &self.mode)
            .field("fixture", &self.fixture)
            .finish_non_exhaustive()
    }
}
