//! What a backend's author gives to the suite: how to connect, how time passes, how to disturb the server.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use infra_core::Result;

use super::disturbance::{Disturbance, Probe};

/// How time passes for the backend under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeControl {
    /// All of its time is tokio's: the clock is paused, and an hour passes at once.
    Virtual,
    /// A server, a connection pool or a thread has a clock of its own: time passes as it does, and scenarios take short ones.
    Real,
}

/// What a constructor is told about the scenario that it is called for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setup {
    /// Unique to this run: put it in front of whatever outlives the run on a shared server (a key prefix, a database name).
    pub namespace: String,
    /// The scenario, `"LOCK-004"`.
    pub scenario: String,
    /// Derived from the scenario's name, so that a run can be repeated.
    pub seed: u64,
}

type Connect<T> = Arc<dyn Fn() -> BoxFuture<'static, Result<Arc<T>>> + Send + Sync>;
type ConnectScoped<T> = Arc<dyn Fn(Vec<String>) -> BoxFuture<'static, Result<Arc<T>>> + Send + Sync>;
type Disturb = Arc<dyn Fn(Disturbance) -> BoxFuture<'static, Result<bool>> + Send + Sync>;
type Look = Arc<dyn Fn(Probe) -> Option<u64> + Send + Sync>;
type Teardown = Box<dyn FnOnce() -> BoxFuture<'static, Result<()>> + Send>;

/// One fresh server, or one fresh place on a shared server, for one run of one scenario.
///
/// The constructor that is given to `conformance::locks!` and its siblings returns one. Only the way to connect is needed. What else is
/// given lets more scenarios be played; a scenario that needs what is missing is listed as skipped.
///
/// ```
/// use std::sync::Arc;
/// use infra_core::coordination::Locks;
/// use infra_core::Result;
/// use infra_memory::MemoryCoordinator;
/// use infra_testkit::conformance::{Fixture, Setup};
///
/// async fn make_backend(_setup: Setup) -> Result<Fixture<dyn Locks>> {
///     let server = MemoryCoordinator::new();
///     Ok(Fixture::in_process(move || {
///         let client: Arc<dyn Locks> = Arc::new(server.connect());
///         async { Ok(client) }
///     }))
/// }
/// ```
pub struct Fixture<T: ?Sized> {
    time: TimeControl,
    connect: Connect<T>,
    connect_scoped: Option<ConnectScoped<T>>,
    disturb: Option<Disturb>,
    look: Option<Look>,
    teardown: Option<Teardown>,
}

impl<T: ?Sized + 'static> Fixture<T> {
    /// A backend whose time is tokio's. `connect` is called once for each process that the scenario plays, all on one server.
    pub fn in_process<F, R>(connect: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Arc<T>>> + Send + 'static,
    {
        Self::with_time(TimeControl::Virtual, connect)
    }

    /// A backend with a clock of its own. `connect` is called once for each process that the scenario plays, all on one server.
    pub fn server<F, R>(connect: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Arc<T>>> + Send + 'static,
    {
        Self::with_time(TimeControl::Real, connect)
    }

    fn with_time<F, R>(time: TimeControl, connect: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<Arc<T>>> + Send + 'static,
    {
        Self {
            time,
            connect: Arc::new(move || Box::pin(connect())),
            connect_scoped: None,
            disturb: None,
            look: None,
            teardown: None,
        }
    }

    /// The same, with a way to connect a client whose keys lie in these scopes, the outermost first.
    #[must_use]
    pub fn on_scope<F, R>(mut self, connect: F) -> Self
    where
        F: Fn(Vec<String>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Arc<T>>> + Send + 'static,
    {
        self.connect_scoped = Some(Arc::new(move |scopes| Box::pin(connect(scopes))));
        self
    }

    /// The same, with a way to make the server misbehave: `Ok(true)` when it was done, `Ok(false)` when it cannot be done here.
    #[must_use]
    pub fn on_disturbance<F, R>(mut self, disturb: F) -> Self
    where
        F: Fn(Disturbance) -> R + Send + Sync + 'static,
        R: Future<Output = Result<bool>> + Send + 'static,
    {
        self.disturb = Some(Arc::new(move |disturbance| Box::pin(disturb(disturbance))));
        self
    }

    /// The same, with a view into the server: what it counts, or `None` when it cannot be seen here.
    #[must_use]
    pub fn on_probe(mut self, look: impl Fn(Probe) -> Option<u64> + Send + Sync + 'static) -> Self {
        self.look = Some(Arc::new(look));
        self
    }

    /// The same, with something to do when the scenario is over, also when it failed or panicked.
    #[must_use]
    pub fn on_teardown<F, R>(mut self, teardown: F) -> Self
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<()>> + Send + 'static,
    {
        self.teardown = Some(Box::new(move || Box::pin(teardown())));
        self
    }

    /// The same server, seen as another of its contracts: a cache as `Locks`, a coordinator as `Registry`; or each client in a wrapper,
    /// to break it.
    #[must_use]
    pub fn map<U: ?Sized + 'static>(
        self,
        view: impl Fn(Arc<T>) -> Arc<U> + Send + Sync + 'static,
    ) -> Fixture<U>
    where
        T: Send + Sync,
    {
        let (connect, view) = (self.connect, Arc::new(view));
        let scoped_view = Arc::clone(&view);
        let connect_scoped = self.connect_scoped.map(|connect| -> ConnectScoped<U> {
            Arc::new(move |scopes| {
                let (connecting, view) = (connect(scopes), Arc::clone(&scoped_view));
                Box::pin(async move { connecting.await.map(|client| view(client)) })
            })
        });
        Fixture {
            time: self.time,
            connect: Arc::new(move || {
                let (connecting, view) = (connect(), Arc::clone(&view));
                Box::pin(async move { connecting.await.map(|client| view(client)) })
            }),
            connect_scoped,
            disturb: self.disturb,
            look: self.look,
            teardown: self.teardown,
        }
    }

    /// How its time passes.
    #[must_use]
    pub fn time(&self) -> TimeControl {
        self.time
    }

    pub(super) fn connect(&self) -> BoxFuture<'static, Result<Arc<T>>> {
        (self.connect)()
    }

    pub(super) async fn connect_scoped(&self, scopes: Vec<String>) -> Option<Result<Arc<T>>> {
        match &self.connect_scoped {
            Some(connect) => Some(connect(scopes).await),
            None => None,
        }
    }

    pub(super) async fn disturb(&self, disturbance: Disturbance) -> Result<bool> {
        match &self.disturb {
            Some(disturb) => disturb(disturbance).await,
            None => Ok(false),
        }
    }

    pub(super) fn look(&self, probe: Probe) -> Option<u64> {
        self.look.as_ref().and_then(|look| look(probe))
    }

    pub(super) fn take_teardown(&mut self) -> Option<Teardown> {
        self.teardown.take()
    }
}

impl<T: ?Sized> fmt::Debug for Fixture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("time", &self.time)
            .field("scopes", &self.connect_scoped.is_some())
            .field("disturbs", &self.disturb.is_some())
            .field("looks", &self.look.is_some())
            .finish_non_exhaustive()
    }
}
