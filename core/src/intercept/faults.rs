//! Injecting faults, scripted or by chance.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::interceptor::{Enter, Exit, Interceptor, Outcome, Role, Scope, State, Status};
use super::method::Call;
use crate::error::{Error, ErrorKind, Retry};

/// What happens to one call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing: the call goes through.
    Ok,
    /// It fails with this kind before it reaches the backend.
    ///
    /// The error says that it had no effect, as a refused connection does; except `Timeout` and `OutcomeUnknown`, after which nobody
    /// can know.
    Err(ErrorKind),
    /// It fails with this error before it reaches the backend.
    Fail(Error),
    /// It goes through after this delay.
    Delay(Duration),
    /// It never ends, and never reaches the backend.
    Hang,
    /// It goes through and its answer is lost: the caller sees [`ErrorKind::OutcomeUnknown`], which may be repeated where
    /// the method is idempotent.
    DropReply,
    /// It reaches the backend twice; the caller sees the second answer. Methods marked `#[call(once)]` cannot be doubled and go through.
    Duplicate,
}

/// Makes calls misbehave on command; innermost in a stack, so that all the others have to cope.
///
/// Scripts are given out call by call, the first one added first; what no script wants is left to chance, if there is
/// one. Methods are named by their label (`"cache.get"`), a whole component by `"cache.*"`, everything by `"*"`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use std::sync::Arc;
/// use infra_core::intercept::{Fault, Faults, Stack};
/// use infra_core::{ErrorKind, Result, async_trait, intercept};
/// # #[intercept(component = "mail")]
/// # #[async_trait]
/// # trait Mail: Send + Sync { async fn send(&self, to: &str) -> Result<()>; }
/// # struct Post;
/// # #[async_trait]
/// # impl Mail for Post { async fn send(&self, _: &str) -> Result<()> { Ok(()) } }
///
/// let faults = Arc::new(Faults::new());
/// faults.script("mail.send", [Fault::Ok, Fault::Err(ErrorKind::Unavailable)]);
///
/// let mail = Stack::new().with_shared(faults.clone()).wrap_named("post", Arc::new(Post));
/// assert!(mail.send("Ann").await.is_ok());
/// assert_eq!(mail.send("Ann").await.unwrap_err().kind(), ErrorKind::Unavailable);
/// assert!(mail.send("Ann").await.is_ok(), "the script is over");
/// # });
/// ```
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    scripts: Vec<Script>,
    chances: Vec<(f64, Fault)>,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Script {
    label: String,
    subject: Option<String>,
    left: VecDeque<Fault>,
    endless: bool,
}

impl Faults {
    /// Nothing goes wrong until a script or a chance is added. The seed of the chances is random; read it with [`seed`](Self::seed).
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(fastrand::u64(..))
    }

    /// The same, with a seed: the same calls in the same order meet the same faults.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            plan: Mutex::new(Plan {
                scripts: Vec::new(),
                chances: Vec::new(),
                random: fastrand::Rng::with_seed(seed),
            }),
        }
    }

    /// The seed, to be printed when a test fails.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Gives these faults to the next calls of `label`, in this order.
    pub fn script(&self, label: impl Into<String>, faults: impl IntoIterator<Item = Fault>) {
        self.add(label.into(), None, faults.into_iter().collect(), false);
    }

    /// Gives these faults to the next calls of `label` whose first `&str` argument is `subject`.
    pub fn script_for(
        &self,
        label: impl Into<String>,
        subject: impl Into<String>,
        faults: impl IntoIterator<Item = Fault>,
    ) {
        self.add(
            label.into(),
            Some(subject.into()),
            faults.into_iter().collect(),
            false,
        );
    }

    /// Gives this fault to every call of `label` from now on, until [`clear`](Self::clear).
    pub fn always(&self, label: impl Into<String>, fault: Fault) {
        self.add(label.into(), None, VecDeque::from([fault]), true);
    }

    /// Gives this fault to every call with this probability (0 to 1, what is outside is taken as the nearer end). Several are tried in
    /// the order in which they were added.
    pub fn by_chance(&self, probability: f64, fault: Fault) {
        let probability = if probability.is_nan() {
            0.0
        } else {
            probability.clamp(0.0, 1.0)
        };
        self.lock().chances.push((probability, fault));
    }

    /// How many scripted faults were not given out yet; a test that ends with some left did not test what it meant to.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.lock()
            .scripts
            .iter()
            .filter(|script| !script.endless)
            .map(|script| script.left.len())
            .sum()
    }

    /// Ends all scripts and chances: everything is well again.
    pub fn clear(&self) {
        let mut plan = self.lock();
        plan.scripts.clear();
        plan.chances.clear();
    }

    fn add(&self, label: String, subject: Option<String>, left: VecDeque<Fault>, endless: bool) {
        self.lock().scripts.push(Script {
            label,
            subject,
            left,
            endless,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Plan {
    fn next(&mut self, call: &Call<'_>) -> Fault {
        if let Some(index) = self.scripts.iter().position(|script| script.wants(call)) {
            let script = &mut self.scripts[index];
            let fault = if script.endless {
                script.left.front().cloned()
            } else {
                script.left.pop_front()
            };
            if script.left.is_empty() {
                self.scripts.remove(index);
            }
            return fault.unwrap_or(Fault::Ok);
        }
        for (probability, fault) in &self.chances {
            if self.random.f64() < *probability {
                return fault.clone();
            }
        }
        Fault::Ok
    }
}

impl Script {
    fn wants(&self, call: &Call<'_>) -> bool {
        let method = call.method();
        let named = self.label == "*"
            || self.label == method.label()
            || self.label.strip_suffix(".*") == Some(method.component());
        named
            && !self.left.is_empty()
            && self
                .subject
                .as_deref()
                .is_none_or(|subject| call.subject() == Some(subject))
    }
}

/// What is still to be done on the way out, as the state of a call.
const DROP_REPLY: u64 = 1;
const DUPLICATE: u64 = 2;

impl Interceptor for Faults {
    fn name(&self) -> &'static str {
        "faults"
    }

    fn role(&self) -> Role {
        Role::Faults
    }

    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        let fault = self.lock().next(call);
        match fault {
            Fault::Ok => {}
            Fault::Err(kind) => {
                let error = Error::new(kind, "injected before the call reached the backend");
                return Enter::Refuse(match kind {
                    ErrorKind::Timeout | ErrorKind::OutcomeUnknown => error,
                    _ => error.without_effect(),
                });
            }
            Fault::Fail(error) => return Enter::Refuse(error),
            Fault::Delay(delay) => {
                return Enter::Wait(Box::pin(async move {
                    tokio::time::sleep(delay).await;
                    Ok(State::default())
                }));
            }
            Fault::Hang => return Enter::Wait(Box::pin(std::future::pending())),
            Fault::DropReply => scope.state().number = DROP_REPLY,
            Fault::Duplicate => scope.state().number = DUPLICATE,
        }
        Enter::Proceed
    }

    fn exit(&self, _: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let todo = std::mem::take(&mut scope.state().number);
        match (todo, outcome.status()) {
            (DROP_REPLY, Status::Ok | Status::Err(_)) => Exit::Replace(
                Error::new(
                    ErrorKind::OutcomeUnknown,
                    "injected: the backend answered and its answer was lost",
                )
                .with_retry(Retry::Backoff),
            ),
            (DUPLICATE, Status::Ok | Status::Err(_)) => Exit::Duplicate,
            _ => Exit::Done,
        }
    }
}
