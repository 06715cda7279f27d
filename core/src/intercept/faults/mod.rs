//! Injecting faults: scripted, at the n-th call, for good, or by chance.

mod plan;
mod target;

pub use plan::UnusedFault;
pub use target::FaultTarget;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use self::plan::{Decision, Pattern, Plan};
use super::interceptor::{Enter, Exit, Interceptor, Outcome, Role, Scope, State, Status};
use super::method::Call;
use crate::error::{Error, ErrorKind, Result, Retry};

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
    /// A later call overtakes it: it is held back until one that the same request names (same name, same subject) has been
    /// answered, so that two that are in flight reach the backend the other way round.
    Reorder {
        /// It goes through after this time even if nothing has overtaken it.
        within: Duration,
    },
    /// The component's connection is lost: whatever [`Faults::on_disconnect`] has for the component happens first (watches are
    /// reset, leases end, consumers lose their partitions), then the call fails with [`ErrorKind::Unavailable`] before it
    /// reaches the backend.
    Disconnect,
}

/// Makes calls misbehave on command; innermost in a stack, so that all the others have to cope.
///
/// Calls are named by the label of their method (`"cache.get"`), a whole component by `"cache.*"`, everything by `"*"`.
/// [`on`](Self::on) names them and says what happens; the other functions are short forms of it. To a call happens the first of:
///
/// 1. what was asked for the n-th call, if it is that one;
/// 2. the next fault of the first script, or the first `always`, that wants it;
/// 3. chance.
///
/// A name that no method has is no error when it is given, since nobody knows which methods will be there; no call will
/// ever meet it. [`verify`](Self::verify) finds such requests; the test kit's `TestInfra` does so by itself.
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
///
/// faults.script("mail.sent", [Fault::Hang]);
/// assert!(faults.verify().unwrap_err().to_string().contains("mail.send"), "it says what was called");
/// # });
/// ```
#[derive(Debug)]
pub struct Faults {
    seed: u64,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    plan: Plan,
    hooks: Vec<Hook>,
    /// Counts calls.
    last_number: u64,
    held: Vec<Held>,
}

/// A call that waits to be overtaken.
#[derive(Debug)]
struct Held {
    pattern: Pattern,
    number: u64,
    overtaken: oneshot::Sender<()>,
}

/// What a lost connection of a component does.
struct Hook {
    component: String,
    action: Arc<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hook").field(&self.component).finish()
    }
}

impl Faults {
    /// Nothing goes wrong until something is asked for. The seed of the chances is random; read it with [`seed`](Self::seed).
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(fastrand::u64(..))
    }

    /// The same, with a seed: the same calls in the same order meet the same faults.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            shared: Mutex::new(Shared {
                plan: Plan::new(seed),
                hooks: Vec::new(),
                last_number: 0,
                held: Vec::new(),
            }),
        }
    }

    /// The seed, to be printed when a test fails.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Names calls: `"cache.get"`, `"cache.*"` or `"*"`; what happens to them is said of the result.
    pub fn on(&self, label: impl Into<String>) -> FaultTarget<'_> {
        FaultTarget::new(self, label.into())
    }

    /// Gives these faults to the next calls of `label`, in this order.
    pub fn script(&self, label: impl Into<String>, faults: impl IntoIterator<Item = Fault>) {
        self.on(label).script(faults);
    }

    /// Gives these faults to the next calls of `label` whose first `&str` argument is `subject`.
    pub fn script_for(
        &self,
        label: impl Into<String>,
        subject: impl Into<String>,
        faults: impl IntoIterator<Item = Fault>,
    ) {
        self.on(label).with_subject(subject).script(faults);
    }

    /// Gives this fault to every call of `label` from now on, until it is [cleared](FaultTarget::clear).
    pub fn always(&self, label: impl Into<String>, fault: Fault) {
        self.on(label).always(fault);
    }

    /// Gives this fault to every call of anything with this probability, as [`FaultTarget::by_chance`].
    pub fn by_chance(&self, probability: f64, fault: Fault) {
        self.on("*").by_chance(probability, fault);
    }

    /// Says what it does to lose the connection of `component`, besides failing the call; for whoever owns the backend.
    ///
    /// It is called while a call is on its way in, so it must neither block nor call the component.
    pub fn on_disconnect(&self, component: impl Into<String>, action: impl Fn() + Send + Sync + 'static) {
        self.lock().hooks.push(Hook {
            component: component.into(),
            action: Arc::new(action),
        });
    }

    /// Loses the connection of `component` now, between two calls; no call fails by it. Whether anything was known that it does.
    pub fn disconnect(&self, component: &str) -> bool {
        let hooks = self.lock().hooks_of(component);
        // Not under the lock: what they do may ask for faults.
        hooks.iter().for_each(|action| action());
        !hooks.is_empty()
    }

    /// How many faults, of scripts and of n-th calls, were not given out yet; a test that ends with some left did not test
    /// what it meant to.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.lock().plan.remaining()
    }

    /// What was asked for, also if it was taken back since, and was not met by a single call. What is endless (`always`, a chance)
    /// counts only if nothing of its name was called before either: it may be there to prove that a call does not come.
    #[must_use]
    pub fn unused(&self) -> Vec<UnusedFault> {
        self.lock().plan.unused()
    }

    /// Finds names that no method has, and faults that a test forgot to provoke.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) with everything [unused](Self::unused), and with what was called instead.
    pub fn verify(&self) -> Result<()> {
        let shared = self.lock();
        let unused = shared.plan.unused();
        if unused.is_empty() {
            return Ok(());
        }
        let unused: Vec<String> = unused.iter().map(ToString::to_string).collect();
        let seen: Vec<&str> = shared.plan.seen().iter().copied().collect();
        let seen = match seen.as_slice() {
            [] => "nothing was called".to_owned(),
            seen => format!("what was called is {}", seen.join(", ")),
        };
        Err(Error::invalid_argument(format!(
            "faults were asked for that no call has met: {}; {seen}. Correct the name, or take the request out",
            unused.join(", ")
        )))
    }

    /// Takes everything back, chances included: all is well again. Calls that are held back or delayed already stay so.
    pub fn clear(&self) {
        self.lock().plan.clear(None);
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn hooks_of(&self, component: &str) -> Vec<Arc<dyn Fn() + Send + Sync>> {
        let hooks = self.hooks.iter().filter(|hook| hook.component == component);
        hooks.map(|hook| Arc::clone(&hook.action)).collect()
    }

    /// Keeps a call back; the receiver is told when it was overtaken.
    fn hold(&mut self, pattern: Pattern, number: u64) -> oneshot::Receiver<()> {
        // Those whose callers have given up.
        self.held.retain(|held| !held.overtaken.is_closed());
        let (overtaken, told) = oneshot::channel();
        self.held.push(Held {
            pattern,
            number,
            overtaken,
        });
        told
    }

    /// Lets go of the calls that this one, which was answered, has overtaken.
    fn overtake(&mut self, call: &Call<'_>, number: u64) {
        let overtaken = |held: &mut Held| held.number < number && held.pattern.matches(call);
        for held in self.held.extract_if(.., overtaken) {
            // A caller that has given up needs no telling.
            let _ = held.overtaken.send(());
        }
    }
}

/// What is still to be done on the way out, in the lowest two bits of a call's state; the others are its number.
const TODO_BITS: u32 = 2;
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
        let mut shared = self.lock();
        shared.last_number += 1;
        let number = shared.last_number;
        let Decision { fault, pattern } = shared.plan.next(call);
        let state = number << TODO_BITS;
        scope.state().number = state;
        match fault {
            Fault::Ok => {}
            Fault::Err(kind) => return Enter::Refuse(injected(kind)),
            Fault::Fail(error) => return Enter::Refuse(error),
            Fault::Delay(delay) => {
                return Enter::Wait(Box::pin(async move {
                    tokio::time::sleep(delay).await;
                    Ok(State::number(state))
                }));
            }
            Fault::Hang => return Enter::Wait(Box::pin(std::future::pending())),
            Fault::DropReply => scope.state().number |= DROP_REPLY,
            Fault::Duplicate => scope.state().number |= DUPLICATE,
            Fault::Reorder { within } => {
                let overtaken = pattern.map(|pattern| shared.hold(pattern, number));
                return Enter::Wait(Box::pin(async move {
                    if let Some(overtaken) = overtaken {
                        // However it ends, the call goes through now.
                        let _ = timeout(within, overtaken).await;
                    }
                    Ok(State::number(state))
                }));
            }
            Fault::Disconnect => {
                drop(shared);
                self.disconnect(call.method().component());
                return Enter::Refuse(
                    Error::new(ErrorKind::Unavailable, "injected: the connection was lost").without_effect(),
                );
            }
        }
        Enter::Proceed
    }

    fn exit(&self, call: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let state = scope.state().number;
        let (number, todo) = (state >> TODO_BITS, state & ((1 << TODO_BITS) - 1));
        scope.state().number = number << TODO_BITS;
        if !matches!(outcome.status(), Status::Ok | Status::Err(_)) {
            return Exit::Done;
        }
        self.lock().overtake(call, number);
        match todo {
            DROP_REPLY => Exit::Replace(
                Error::new(
                    ErrorKind::OutcomeUnknown,
                    "injected: the backend answered and its answer was lost",
                )
                .with_retry(Retry::Backoff),
            ),
            DUPLICATE => Exit::Duplicate,
            _ => Exit::Done,
        }
    }
}

/// The error of a call that is kept from the backend.
fn injected(kind: ErrorKind) -> Error {
    let error = Error::new(kind, "injected before the call reached the backend");
    match kind {
        ErrorKind::Timeout | ErrorKind::OutcomeUnknown => error,
        _ => error.without_effect(),
    }
}
