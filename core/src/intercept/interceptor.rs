//! The contract of an interceptor: what it is told, what it may answer.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::method::Call;
use crate::error::{Error, ErrorKind, Result};

/// One concern that is wrapped around calls: a timeout, a counter, a fault.
///
/// [`enter`](Self::enter) runs on the way in, [`exit`](Self::exit) on the way out. Whoever was entered is always told
/// the end, exactly once unless it asks for a repetition: also when the caller drops the future, when a bound set further
/// out passes, and when the implementation panics. So what `enter` takes (a permit, a gauge), `exit` gives back.
///
/// One interceptor serves many methods, backends and concurrent calls: its own state is shared state, and what belongs to
/// one call goes into the [`Scope`].
///
/// # Contract
/// - Neither method blocks. Waiting is asked for with [`Enter::Wait`] or [`Exit::Repeat`].
/// - Neither method panics: an `exit` that panics while a panic unwinds aborts the process.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use infra_core::intercept::{Call, Exit, Interceptor, Outcome, Scope};
///
/// /// Counts the calls that failed.
/// #[derive(Debug, Default)]
/// struct Failures(AtomicU64);
///
/// impl Interceptor for Failures {
///     fn name(&self) -> &'static str {
///         "failures"
///     }
///
///     fn exit(&self, _: &Call<'_>, _: &mut Scope, outcome: &Outcome<'_>) -> Exit {
///         if outcome.error_kind().is_some() {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///         Exit::Done
///     }
/// }
/// ```
pub trait Interceptor: fmt::Debug + Send + Sync + 'static {
    /// The interceptor's name, for `Debug` and for the messages of [`Stack::validate`](super::Stack::validate).
    fn name(&self) -> &'static str;

    /// What kind of concern this is, so that [`Stack::validate`](super::Stack::validate) can find traps of order.
    fn role(&self) -> Role {
        Role::Other
    }

    /// Whether `exit` may ask to repeat the call. If nobody in a stack does, owned arguments are moved and never cloned.
    fn repeats(&self) -> bool {
        true
    }

    /// The call is on its way in.
    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        let _ = (call, scope);
        Enter::Proceed
    }

    /// The call is on its way out; `scope` is as `enter` left it.
    fn exit(&self, call: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let _ = (call, scope, outcome);
        Exit::Done
    }
}

crate::assert_object_safe!(Interceptor);

/// What kind of concern an interceptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Opens a tracing span.
    Trace,
    /// Records metrics.
    Metrics,
    /// Writes log lines.
    Log,
    /// Limits how many calls run at once, or how many start per second.
    Limit,
    /// Refuses calls while the backend is unwell.
    Breaker,
    /// Repeats failed calls.
    Retry,
    /// Bounds the time of what is inside.
    Timeout,
    /// Injects faults.
    Faults,
    /// Anything else; may stand anywhere.
    Other,
}

/// The future of [`Enter::Wait`]: it ends with the state to keep for the call, or with the refusal of the call.
pub type Waiting = Pin<Box<dyn Future<Output = Result<State>> + Send>>;

/// What an interceptor answers to a call on its way in.
#[must_use]
pub enum Enter {
    /// Let it pass.
    Proceed,
    /// Wait first. The interceptor counts as entered when the future has ended with `Ok`; until then, cancellation is
    /// the future's own business (it is dropped).
    Wait(Waiting),
    /// Refuse the call with this error; what is inside never sees it, and this interceptor's `exit` is not called.
    Refuse(Error),
}

impl fmt::Debug for Enter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proceed => f.write_str("Proceed"),
            Self::Wait(_) => f.write_str("Wait"),
            Self::Refuse(error) => f.debug_tuple("Refuse").field(error).finish(),
        }
    }
}

/// What an interceptor answers to a call on its way out. After a cancellation or a panic the answer is ignored.
#[derive(Debug)]
#[must_use]
pub enum Exit {
    /// Pass the outcome on as it is.
    Done,
    /// Do everything inside again, after this delay.
    ///
    /// Honoured only where [`Call::may_repeat`] says so, and the same as [`Exit::Done`] elsewhere: a call that is not
    /// idempotent is never repeated by mistake.
    Repeat {
        /// How long to wait first.
        after: Duration,
    },
    /// Do everything inside again at once, whatever the outcome was and idempotent or not; for fault injection alone.
    /// The answer of the second call is the one that the caller gets.
    Duplicate,
    /// Pass the failure on in this final form, which may add what was tried and mark it as
    /// [exhausted](crate::Retry::Exhausted). A trait with errors of its own keeps its error, marked if this one is.
    Conclude(Error),
    /// Pass this error on instead of the outcome.
    Replace(Error),
}

/// How a call ended, as seen from one interceptor.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    pub(super) status: Status<'a>,
    pub(super) at: Instant,
    pub(super) entered: Instant,
}

impl<'a> Outcome<'a> {
    /// How it ended.
    #[must_use]
    pub fn status(&self) -> Status<'a> {
        self.status
    }

    /// When it ended; read once for all interceptors.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// When this interceptor was entered.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.entered
    }

    /// The time since this interceptor was entered, repetitions and delays inside it included.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.at.saturating_duration_since(self.entered)
    }

    /// The kind of the failure, if it failed.
    #[must_use]
    pub fn error_kind(&self) -> Option<ErrorKind> {
        match self.status {
            Status::Err(failed) => Some(failed.kind),
            _ => None,
        }
    }

    /// The outcome as a metric label: `"ok"`, the name of the error's kind, `"cancelled"` (the caller gave up) or `"panicked"`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self.status {
            Status::Ok => "ok",
            Status::Err(failed) => failed.kind.name(),
            Status::Cancelled => "cancelled",
            Status::Panicked => "panicked",
        }
    }
}

/// The ways in which a call can end.
#[derive(Debug, Clone, Copy)]
pub enum Status<'a> {
    /// It succeeded.
    Ok,
    /// It failed.
    Err(Failed<'a>),
    /// Its future was dropped before it ended: the caller gave up, or a bound set further out passed.
    Cancelled,
    /// The implementation panicked.
    Panicked,
}

/// A failure, of whatever type the trait's errors are.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'a> {
    pub(super) kind: ErrorKind,
    pub(super) error: Option<&'a Error>,
}

impl<'a> Failed<'a> {
    /// The kind under which it is counted.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The infrastructure error; absent when a trait's own error type holds a failure of the business.
    #[must_use]
    pub fn error(&self) -> Option<&'a Error> {
        self.error
    }
}

/// What one interceptor keeps for one call, and what it asks of the driver for everything inside it.
#[derive(Debug)]
pub struct Scope {
    pub(super) state: State,
    pub(super) bound: Option<Duration>,
    pub(super) span: Option<Box<tracing::Span>>,
}

impl Scope {
    pub(super) const EMPTY: Self = Self {
        state: State {
            number: 0,
            value: None,
        },
        bound: None,
        span: None,
    };

    /// Bounds the time of everything inside: when it passes, what is inside is dropped and the call fails with
    /// [`ErrorKind::Timeout`]. No timer is made for what is ready at once.
    pub fn bound(&mut self, limit: Duration) {
        self.bound = Some(limit);
    }

    /// Runs everything inside in this span.
    pub fn span(&mut self, span: tracing::Span) {
        if !span.is_disabled() {
            self.span = Some(Box::new(span));
        }
    }

    /// The span that was set, if it is enabled.
    #[must_use]
    pub fn current_span(&self) -> Option<&tracing::Span> {
        self.span.as_deref()
    }

    /// What the interceptor keeps between `enter` and `exit`.
    pub fn state(&mut self) -> &mut State {
        &mut self.state
    }
}

/// What an interceptor keeps between `enter` and `exit`: a number for free, anything else for one allocation.
#[derive(Debug, Default)]
pub struct State {
    /// A number of the interceptor's own; 0 at first.
    pub number: u64,
    /// Anything else.
    pub value: Option<Box<dyn Any + Send>>,
}

impl State {
    /// A state that is a number.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self { number, value: None }
    }

    /// A state that is a value, dropped when the call has left the interceptor.
    #[must_use]
    pub fn value(value: impl Any + Send) -> Self {
        Self {
            number: 0,
            value: Some(Box::new(value)),
        }
    }

    /// Takes the value out, if it is of this type.
    pub fn take<T: Any>(&mut self) -> Option<T> {
        let value = self.value.take()?;
        match value.downcast::<T>() {
            Ok(value) => Some(*value),
            Err(other) => {
                self.value = Some(other);
                None
            }
        }
    }
}
