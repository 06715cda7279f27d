//! An operation stopped at each of its await points in turn, and what must hold after each.

use std::fmt;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use infra_core::Result;

use super::interrupt::{End, Moment, polls_then_drop};
use super::route::Route;
use crate::check;
use crate::conformance::{Failure, Outcome, TimeControl};
use crate::time::eventually;

/// No operation under test has more await points.
const MOST_POINTS: usize = 400;

/// A fresh place to try one operation in: a backend, called over a [`Route`], with something in it.
pub trait Ground {
    /// What a user can see, in a canonical form, so that two looks can be compared.
    fn observe(&self) -> LocalBoxFuture<'_, Result<String, Failure>>;

    /// The way to the backend.
    fn route(&self) -> &Route;

    /// Closes the backend.
    fn leave(self) -> LocalBoxFuture<'static, Result<()>>;
}

/// One operation that is to be stopped everywhere.
pub struct Case<G> {
    name: &'static str,
    act: Act<G>,
}

/// Does the operation on a ground. Doing it twice must work.
pub type Act<G> = for<'g> fn(&'g G) -> LocalBoxFuture<'g, Result<(), Failure>>;

impl<G> Case<G> {
    /// A case for the method `name`: `"KeyValue::get"`, with the circumstances in parentheses behind it where there are several cases.
    #[must_use]
    pub const fn new(name: &'static str, act: Act<G>) -> Self {
        Self { name, act }
    }

    /// The method, with the circumstances.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<G> fmt::Debug for Case<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a sweep went over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sweep {
    /// The case.
    pub name: &'static str,
    /// How many times it was pending before it was ready.
    pub points: usize,
    /// Which methods reached the backend, in all attempts together; nothing on the direct route.
    pub labels: Vec<&'static str>,
}

/// Plays every case on grounds of `make`, directly and behind the whole standard stack.
///
/// # Errors
/// A [`Failure`] that names the case, the route and the await point at which something was left over.
pub async fn every_case<G: Ground>(
    cases: &[Case<G>],
    time: TimeControl,
    make: impl AsyncFn(Route) -> Result<G, Failure>,
) -> Result<Vec<Sweep>, Failure> {
    // Where time is real, the stack is passed once: that both moments are harmless in it is proved where time is free.
    let moments = match time {
        TimeControl::Virtual => &Moment::ALL[..],
        TimeControl::Real => &[Moment::Woken],
    };
    let mut sweeps = Vec::new();
    for case in cases {
        let direct = async || make(Route::direct()).await;
        sweep(case, time, &Moment::ALL, &direct)
            .await
            .map_err(|failure| {
                Failure::broken(format!("{case:?}, called directly: {}", failure.message()))
            })?;
        let behind = async || make(Route::standard_stack()?).await;
        let swept = sweep(case, time, moments, &behind).await.map_err(|failure| {
            Failure::broken(format!(
                "{case:?}, behind the standard stack: {}",
                failure.message()
            ))
        })?;
        sweeps.push(swept);
    }
    Ok(sweeps)
}

/// Stops one operation at each of its await points, at these moments; each time on a fresh ground.
///
/// After each stop, no task is left over and nothing is held in the stack, a user sees the state before the operation or the one after
/// it, and the operation works when it is repeated.
///
/// # Errors
/// A [`Failure`] that says after how many polls what was wrong.
pub async fn sweep<G: Ground>(
    case: &Case<G>,
    time: TimeControl,
    moments: &[Moment],
    make: &impl AsyncFn() -> Result<G, Failure>,
) -> Result<Sweep, Failure> {
    let expected = Expected::of(case, time, make).await?;
    for polls in 0..MOST_POINTS {
        for &moment in moments {
            let stopped = expected.stop(case, make, polls, moment).await;
            let completed = stopped.map_err(|failure| {
                let when = format!("dropped after {polls} polls, {moment:?}");
                Failure::broken(format!("{when}: {}", failure.message()))
            })?;
            if completed {
                return Ok(Sweep {
                    name: case.name,
                    points: polls - 1,
                    labels: expected.labels,
                });
            }
        }
    }
    Err(Failure::broken(format!(
        "still not ready after {MOST_POINTS} polls"
    )))
}

/// What may be seen when an operation was not begun, done, and done twice.
struct Expected {
    bounds: Bounds,
    before: String,
    once: String,
    twice: String,
    labels: Vec<&'static str>,
}

/// How long is waited for what.
#[derive(Clone, Copy)]
struct Bounds {
    /// For a future to be woken, or to end.
    patience: Duration,
    /// For tasks to end. Much shorter than any lease, so that a lease which was not given back is not taken for one that was.
    settling: Duration,
}

impl Bounds {
    fn of(time: TimeControl) -> Self {
        match time {
            TimeControl::Virtual => Self {
                patience: Duration::from_secs(600),
                settling: Duration::from_secs(5),
            },
            TimeControl::Real => Self {
                patience: Duration::from_secs(10),
                settling: Duration::from_secs(3),
            },
        }
    }

    /// What a user sees when everything has come to rest; leaves nothing of its own.
    async fn look<G: Ground>(self, tasks: usize, ground: &G) -> Result<String, Failure> {
        self.tasks_end(tasks).await?;
        ground.route().check_idle()?;
        let seen = ground.observe().await?;
        self.tasks_end(tasks).await?;
        Ok(seen)
    }

    async fn tasks_end(self, tasks: usize) -> Outcome {
        let ended = eventually(self.settling, || std::future::ready(alive() <= tasks)).await;
        check!(ended, "{} tasks are left over", alive().saturating_sub(tasks));
        Ok(())
    }

    async fn complete<G>(self, case: &Case<G>, ground: &G) -> Outcome {
        match tokio::time::timeout(self.patience, (case.act)(ground)).await {
            Ok(done) => done,
            Err(_) => Err(Failure::broken(format!(
                "it did not end within {:?}",
                self.patience
            ))),
        }
    }
}

impl Expected {
    async fn of<G: Ground>(
        case: &Case<G>,
        time: TimeControl,
        make: &impl AsyncFn() -> Result<G, Failure>,
    ) -> Result<Self, Failure> {
        let bounds = Bounds::of(time);
        let outside = alive();
        let ground = make().await?;
        let tasks = alive();
        let before = bounds.look(tasks, &ground).await?;
        bounds.complete(case, &ground).await?;
        let once = bounds.look(tasks, &ground).await?;
        bounds.complete(case, &ground).await?;
        let twice = bounds.look(tasks, &ground).await?;
        let labels = ground.route().labels();
        ground.leave().await?;
        bounds.tasks_end(outside).await?;
        Ok(Self {
            bounds,
            before,
            once,
            twice,
            labels,
        })
    }

    /// Whether the operation was ready within so many polls.
    async fn stop<G: Ground>(
        &self,
        case: &Case<G>,
        make: &impl AsyncFn() -> Result<G, Failure>,
        polls: usize,
        moment: Moment,
    ) -> Result<bool, Failure> {
        let bounds = self.bounds;
        let outside = alive();
        let ground = make().await?;
        let tasks = alive();
        let completed = match polls_then_drop((case.act)(&ground), polls, moment, bounds.patience).await {
            End::Completed(done) => {
                done?;
                true
            }
            End::Dropped => false,
            End::Stuck => {
                return Err(Failure::broken(format!(
                    "nothing woke it for {:?}",
                    bounds.patience
                )));
            }
        };
        let seen = bounds.look(tasks, &ground).await?;
        check!(
            seen == self.before || seen == self.once,
            "a user sees {seen}, which is neither the state before the operation, {}, nor the one after it, {}",
            self.before,
            self.once
        );
        bounds
            .complete(case, &ground)
            .await
            .map_err(|failure| Failure::broken(format!("afterwards it fails: {}", failure.message())))?;
        let seen = bounds.look(tasks, &ground).await?;
        check!(
            seen == self.once || seen == self.twice,
            "after a repetition a user sees {seen}, expected {} or {}",
            self.once,
            self.twice
        );
        ground.leave().await?;
        bounds.tasks_end(outside).await?;
        Ok(completed)
    }
}

fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// A list of cases: the method, and what to do on the ground `g`, where `?` may be used.
macro_rules! cases {
    ($($name:literal => |$ground:ident| $body:expr),+ $(,)?) => {
        vec![$(
            $crate::cancellation::Case::new($name, |$ground| Box::pin(async move {
                let _ = $body;
                Ok(())
            }))
        ),+]
    };
}
pub(super) use cases;
