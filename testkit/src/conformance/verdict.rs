//! What comes out of a scenario: nothing, when the backend behaved, or a [`Failure`] that says what it did instead.

use std::fmt;
use std::panic::Location;

use infra_core::Error;

/// What a scenario returns.
pub type Outcome = Result<(), Failure>;

/// Why a scenario did not pass: the backend broke the contract, or the scenario could not be played.
#[derive(Debug)]
pub struct Failure {
    reason: Reason,
    message: String,
    place: &'static Location<'static>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Broken,
    Premise,
    Skipped,
    NoServer,
}

impl Failure {
    /// The backend broke the contract; `message` says what was expected and what was seen.
    #[must_use]
    #[track_caller]
    pub fn broken(message: impl Into<String>) -> Self {
        Self {
            reason: Reason::Broken,
            message: message.into(),
            place: Location::caller(),
        }
    }

    /// The scenario cannot be played here; `message` says what is missing. It is listed by name in the summary of the run.
    #[must_use]
    #[track_caller]
    pub fn skipped(message: impl Into<String>) -> Self {
        Self {
            reason: Reason::Skipped,
            ..Self::broken(message)
        }
    }

    /// The server that the backend needs is not there: skipped like any other, but not where continuous integration must have it.
    #[track_caller]
    pub(super) fn no_server(message: impl Into<String>) -> Self {
        Self {
            reason: Reason::NoServer,
            ..Self::broken(message)
        }
    }

    /// A step failed that the scenario needs and another scenario proves; see [`Premise`].
    #[must_use]
    #[track_caller]
    pub fn premise(message: impl Into<String>) -> Self {
        Self {
            reason: Reason::Premise,
            ..Self::broken(message)
        }
    }

    /// Whether a premise failed, and not the behaviour that the scenario proves.
    #[must_use]
    pub fn is_premise(&self) -> bool {
        self.reason == Reason::Premise
    }

    /// Whether the scenario could not be played, as opposed to the backend having failed it.
    #[must_use]
    pub fn is_skipped(&self) -> bool {
        matches!(self.reason, Reason::Skipped | Reason::NoServer)
    }

    /// Whether it could not be played for want of a server.
    pub(super) fn is_for_want_of_a_server(&self) -> bool {
        self.reason == Reason::NoServer
    }

    /// What was expected and what was seen, without the place.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.place)
    }
}

/// An error of the backend where none was expected: `?` in a scenario.
impl From<Error> for Failure {
    #[track_caller]
    fn from(error: Error) -> Self {
        let mut message = format!("unexpected error: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message.push_str(&format!("; caused by: {cause}"));
            source = cause.source();
        }
        Self::broken(message)
    }
}

/// A task of the scenario that panicked or was cancelled.
impl From<tokio::task::JoinError> for Failure {
    #[track_caller]
    fn from(error: tokio::task::JoinError) -> Self {
        Self::broken(format!("a task of the scenario did not finish: {error}"))
    }
}

/// Marks a step as a premise: something that the scenario needs, and that another scenario proves.
///
/// A failed premise fails the test as everything else does, but it does not count as noticing a defect: so a backend that cannot
/// even store a value fails the scenario that stores one, and not by name all those that build on it.
///
/// ```
/// use infra_testkit::conformance::{Outcome, Premise, check};
///
/// fn second_holder_is_refused(first: Option<u8>, second: Option<u8>) -> Outcome {
///     first.premise("a free lock is given out")?;
///     check!(second.is_none(), "two holders");
///     Ok(())
/// }
/// assert!(second_holder_is_refused(None, None).unwrap_err().is_premise());
/// assert!(!second_holder_is_refused(Some(1), Some(2)).unwrap_err().is_premise());
/// ```
pub trait Premise {
    /// What the step gives.
    type Value;

    /// The step's value.
    ///
    /// # Errors
    /// A [`Failure`] that says that the premise `what` failed, and how.
    fn premise(self, what: &str) -> Result<Self::Value, Failure>;
}

impl<T> Premise for Option<T> {
    type Value = T;

    #[track_caller]
    fn premise(self, what: &str) -> Result<T, Failure> {
        match self {
            Some(value) => Ok(value),
            None => Err(Failure::premise(format!("premise: {what}"))),
        }
    }
}

impl<T, E: Into<Failure>> Premise for Result<T, E> {
    type Value = T;

    #[track_caller]
    fn premise(self, what: &str) -> Result<T, Failure> {
        match self {
            Ok(value) => Ok(value),
            Err(error) => {
                let cause: Failure = error.into();
                Err(Failure::premise(format!("premise: {what}: {}", cause.message)))
            }
        }
    }
}

impl Premise for bool {
    type Value = ();

    #[track_caller]
    fn premise(self, what: &str) -> Result<(), Failure> {
        self.then_some(()).premise(what)
    }
}

/// Ends the scenario as failed unless the condition holds; the rest is the message, as for `assert!`.
///
/// ```
/// use infra_testkit::conformance::{Outcome, check};
///
/// fn adds_up(sum: i64) -> Outcome {
///     check!(sum == 4, "2 + 2 must be 4, not {sum}");
///     Ok(())
/// }
/// assert!(adds_up(4).is_ok());
/// assert!(adds_up(5).unwrap_err().to_string().starts_with("2 + 2 must be 4, not 5"));
/// ```
#[macro_export]
macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return ::core::result::Result::Err($crate::conformance::Failure::broken(::std::format!($($message)+)));
        }
    };
}

/// Ends the scenario as failed unless both sides are equal; shows both. The rest is the message, as for `assert_eq!`.
///
/// ```
/// use infra_testkit::conformance::{Outcome, check_eq};
///
/// fn counts(seen: u64) -> Outcome {
///     check_eq!(seen, 2, "every delivery counts");
///     Ok(())
/// }
/// assert!(counts(1).unwrap_err().to_string().starts_with("every delivery counts: 1, expected 2"));
/// ```
#[macro_export]
macro_rules! check_eq {
    ($seen:expr, $expected:expr, $($message:tt)+) => {
        match (&$seen, &$expected) {
            (seen, expected) => if !(*seen == *expected) {
                return ::core::result::Result::Err($crate::conformance::Failure::broken(::std::format!(
                    "{}: {seen:?}, expected {expected:?}",
                    ::std::format_args!($($message)+),
                )));
            },
        }
    };
}

/// Ends the scenario as failed unless the result is an error of this kind; gives the error. The rest is the message.
///
/// ```
/// use infra_core::{Error, ErrorKind};
/// use infra_testkit::conformance::{Outcome, check_error};
///
/// fn refuses(answer: infra_core::Result<()>) -> Outcome {
///     let error = check_error!(answer, ErrorKind::Conflict, "a stale revision");
///     assert_eq!(error.kind(), ErrorKind::Conflict);
///     Ok(())
/// }
/// assert!(refuses(Err(Error::new(ErrorKind::Conflict, "stale"))).is_ok());
/// assert!(refuses(Ok(())).unwrap_err().to_string().starts_with("a stale revision: Ok(()), expected an error of kind Conflict"));
/// ```
#[macro_export]
macro_rules! check_error {
    ($answer:expr, $kind:expr, $($message:tt)+) => {
        match $answer {
            ::core::result::Result::Err(error) if error.kind() == $kind => error,
            other => return ::core::result::Result::Err($crate::conformance::Failure::broken(::std::format!(
                "{}: {other:?}, expected an error of kind {:?}",
                ::std::format_args!($($message)+),
                $kind,
            ))),
        }
    };
}
