//! What an error type must tell, to be handled by the decorators.

use std::fmt;

use super::{Error, ErrorKind, Retry};

/// What the decorators need to know of any error type, so that a trait with errors of its own can be intercepted too.
///
/// A service's own error enum implements this by wrapping [`Error`] in one variant and classifying the others.
///
/// ```
/// use infra_core::{Error, ErrorKind, Failure, Retry};
///
/// #[derive(Debug)]
/// enum PaymentError {
///     Declined,
///     Infrastructure(Error),
/// }
///
/// impl From<Error> for PaymentError {
///     fn from(error: Error) -> Self {
///         Self::Infrastructure(error)
///     }
/// }
///
/// impl Failure for PaymentError {
///     fn kind(&self) -> ErrorKind {
///         match self {
///             Self::Declined => ErrorKind::Conflict,
///             Self::Infrastructure(error) => error.kind(),
///         }
///     }
///     fn as_error(&self) -> Option<&Error> {
///         match self {
///             Self::Declined => None,
///             Self::Infrastructure(error) => Some(error),
///         }
///     }
///     fn exhausted(self) -> Self {
///         match self {
///             Self::Infrastructure(error) => Self::Infrastructure(error.exhausted()),
///             declined => declined,
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of an intercepted method, because it does not implement `Failure`",
    label = "does not implement `infra_core::Failure`",
    note = "implement `infra_core::Failure` for `{Self}` (wrap `infra_core::Error` in one variant), or return `infra_core::Result<T>`"
)]
pub trait Failure: From<Error> + fmt::Debug + Send + Sync + 'static {
    /// The kind under which this failure is counted.
    fn kind(&self) -> ErrorKind;

    /// The infrastructure error inside, if there is one; a failure without one is never repeated.
    fn as_error(&self) -> Option<&Error>;

    /// The same failure, marked so that an outer retry does not multiply the attempts.
    #[must_use]
    fn exhausted(self) -> Self;
}

impl Failure for Error {
    fn kind(&self) -> ErrorKind {
        Self::kind(self)
    }

    fn as_error(&self) -> Option<&Error> {
        Some(self)
    }

    fn exhausted(self) -> Self {
        if self.is_retryable() {
            self.with_retry(Retry::Exhausted)
        } else {
            self
        }
    }
}
