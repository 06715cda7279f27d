//! Backends that leave something behind when a call is given up, each of which the sweep must catch.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::capability::Capabilities;
use infra_core::coordination::{LockGuard, LockOptions, Locks};
use infra_core::intercept::{
    Call, ConcurrencyLimit, Enter, Exit, Interceptor, Outcome, Scope, Stack, State, Status,
};
use infra_core::{Backend, Result, async_trait};
use infra_memory::MemoryCoordinator;
use infra_testkit::cancellation::{Case, Ground, Moment, Route, every_case, locks, sweep};
use infra_testkit::conformance::{Failure, TimeControl};
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// What is left behind when a waiting call is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leak {
    Nothing,
    Lock,
    Task,
    Permit,
}

/// Locks that wait for a moment after every acquisition, which is when they leak.
#[derive(Debug)]
struct Leaky {
    inner: MemoryCoordinator,
    leak: Leak,
    permits: Semaphore,
}

impl Leaky {
    fn locks(leak: Leak) -> Arc<dyn Locks> {
        Arc::new(Self {
            inner: MemoryCoordinator::new(),
            leak,
            permits: Semaphore::new(1),
        })
    }

    async fn pause<T>(&self, granted: T) -> T {
        match self.leak {
            Leak::Nothing => yield_now().await,
            Leak::Lock => {
                let granted = std::mem::ManuallyDrop::new(granted);
                yield_now().await;
                return std::mem::ManuallyDrop::into_inner(granted);
            }
            Leak::Task => {
                let task = tokio::spawn(std::future::pending::<()>());
                yield_now().await;
                task.abort();
            }
            Leak::Permit => {
                self.permits.acquire().await.expect("never closed").forget();
                yield_now().await;
                self.permits.add_permits(1);
            }
        }
        granted
    }
}

#[async_trait]
impl Backend for Leaky {
    fn backend(&self) -> &'static str {
        "leaky"
    }

    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    async fn shutdown(&self, deadline: Duration) -> Result<()> {
        self.inner.shutdown(deadline).await
    }
}

#[async_trait]
impl Locks for Leaky {
    async fn acquire(&self, key: &str, options: LockOptions) -> Result<LockGuard> {
        let guard = self.inner.acquire(key, options).await?;
        Ok(self.pause(guard).await)
    }

    async fn try_acquire(&self, key: &str, ttl: Duration) -> Result<Option<LockGuard>> {
        self.inner.try_acquire(key, ttl).await
    }
}

async fn sweep_locks(leak: Leak) -> Result<(), Failure> {
    let cases: Vec<_> = locks::cases()
        .into_iter()
        .filter(|case| case.name() == "Locks::acquire (a free one)")
        .collect();
    assert_eq!(cases.len(), 1);
    let make = async |route| Ok(locks::LocksGround::new(Leaky::locks(leak), route));
    every_case(&cases, TimeControl::Virtual, make).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn every_leak_is_caught_and_named() {
    sweep_locks(Leak::Nothing).await.expect("nothing leaks");
    for (leak, complaint) in [
        (Leak::Lock, "1 tasks are left over"), // the one that renews it
        (Leak::Task, "1 tasks are left over"),
        (Leak::Permit, "afterwards it fails"),
    ] {
        let failure = sweep_locks(leak).await.expect_err("it leaks");
        let text = failure.message();
        assert!(
            text.contains(complaint) && text.contains("dropped after 1 polls"),
            "{leak:?}: {text}"
        );
    }
}

/// A number that two writes change, with a pause between them, and an interceptor in between that may hold something for a call.
struct Torn {
    route: Route,
    halves: Arc<Mutex<[u8; 2]>>,
}

impl Torn {
    fn get(&self) -> [u8; 2] {
        *self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, half: usize) {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)[half] = 1;
    }
}

impl Ground for Torn {
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>> {
        Box::pin(async { Ok(format!("{:?}", self.get())) })
    }

    fn route(&self) -> &Route {
        &self.route
    }

    fn leave(self) -> LocalBoxFuture<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn half_an_operation_is_caught() {
    let make = async || {
        Ok(Torn {
            route: Route::direct(),
            halves: Arc::default(),
        })
    };
    let case = Case::<Torn>::new("Torn::set_both", |torn| {
        Box::pin(async {
            torn.set(0);
            yield_now().await;
            torn.set(1);
            Ok(())
        })
    });
    let failure = sweep(&case, TimeControl::Virtual, &Moment::ALL, &make)
        .await
        .expect_err("torn");
    assert!(
        failure.message().contains("a user sees [1, 0], which is neither"),
        "{failure}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_future_that_nothing_wakes_is_caught() {
    let make = async || {
        Ok(Torn {
            route: Route::direct(),
            halves: Arc::default(),
        })
    };
    let case = Case::<Torn>::new("Torn::hang", |_| Box::pin(std::future::pending()));
    let failure = sweep(&case, TimeControl::Virtual, &Moment::ALL, &make)
        .await
        .expect_err("hangs");
    assert!(failure.message().contains("did not end within"), "{failure}");
}

/// A limit that forgets calls which are given up.
#[derive(Debug)]
struct Forgetful(ConcurrencyLimit);

impl Interceptor for Forgetful {
    fn name(&self) -> &'static str {
        "forgetful"
    }

    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        self.0.enter(call, scope)
    }

    fn exit(&self, call: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        match outcome.status() {
            Status::Cancelled => Exit::Done,
            _ => self.0.exit(call, scope, outcome),
        }
    }
}

/// Lets every call wait for a moment.
#[derive(Debug)]
struct Pausing;

impl Interceptor for Pausing {
    fn name(&self) -> &'static str {
        "pausing"
    }

    fn enter(&self, _: &Call<'_>, _: &mut Scope) -> Enter {
        Enter::Wait(Box::pin(async {
            yield_now().await;
            Ok(State::default())
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn an_interceptor_that_forgets_cancelled_calls_is_caught() {
    let cases: Vec<_> = locks::cases()
        .into_iter()
        .filter(|case| case.name() == "Locks::try_acquire")
        .collect();
    let make = async |route: Route| {
        let limit = ConcurrencyLimit::new(std::num::NonZeroUsize::MIN);
        let inner: Arc<dyn Locks> = Arc::new(MemoryCoordinator::new());
        let waiting: Arc<dyn Locks> = Stack::new().with(Forgetful(limit)).with(Pausing).wrap(inner);
        Ok(locks::LocksGround::new(waiting, route))
    };
    let failure = every_case(&cases, TimeControl::Virtual, make)
        .await
        .expect_err("it forgets");
    assert!(failure.message().contains("dropped after 1 polls"), "{failure}");
}
