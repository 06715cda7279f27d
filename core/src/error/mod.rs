//! The one error type of every contract, and the frozen vocabulary of its kinds.
//!
//! `kind` says what went wrong, [`Retry`] says what repeating would do; the two are independent, and each backend
//! sets both from a table in its own `error.rs`.

mod failure;
mod kind;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use failure::Failure;
pub use kind::{ErrorKind, Retry};

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: what was attempted, on which backend, what went wrong, and what to do about it.
///
/// Cloning is cheap (the source is shared), so that one failure can be told to every waiter. Neither `Display` nor
/// `Debug` ever contains a secret: constructors are given messages without them, and backends redact what a driver says.
///
/// ```
/// use infra_core::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::InvalidArgument, "the key is empty; give at least one byte")
///     .at("cache", "memory", "get");
/// assert_eq!(
///     error.to_string(),
///     "cache get on memory: the key is empty; give at least one byte (invalid_argument)",
/// );
/// assert!(!error.is_retryable());
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retry: Retry,
    no_effect: bool,
    component: &'static str,
    backend: Cow<'static, str>,
    operation: &'static str,
    message: Cow<'static, str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync + 'static>>,
}

impl Error {
    /// Makes an error of `kind`, with the retry advice usual for that kind and nothing yet about where it happened.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            inner: Box::new(Inner {
                kind,
                retry: kind.default_retry(),
                no_effect: false,
                component: "",
                backend: Cow::Borrowed(""),
                operation: "",
                message: message.into(),
                source: None,
            }),
        }
    }

    /// Shorthand for an [`ErrorKind::InvalidArgument`] that was found before any I/O.
    #[must_use]
    pub fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message).without_effect()
    }

    /// Shorthand for an [`ErrorKind::InvalidConfig`].
    #[must_use]
    pub fn invalid_config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidConfig, message).without_effect()
    }

    /// Shorthand for an [`ErrorKind::Closed`]: `what` was shut down before the call.
    #[must_use]
    pub fn closed(what: &str) -> Self {
        Self::new(
            ErrorKind::Closed,
            format!("{what} was shut down; it takes no more calls"),
        )
        .without_effect()
    }

    /// Shorthand for an [`ErrorKind::Unsupported`]: this backend does not offer `what`.
    #[must_use]
    pub fn unsupported(what: &str) -> Self {
        Self::new(
            ErrorKind::Unsupported,
            format!("this backend does not offer {what}; require the capability when wiring, or choose another backend"),
        )
        .without_effect()
    }

    /// Says where the error happened; parts that are already known stay as they are (the innermost place wins).
    #[must_use]
    pub fn at(
        mut self,
        component: &'static str,
        backend: impl Into<Cow<'static, str>>,
        operation: &'static str,
    ) -> Self {
        if self.inner.component.is_empty() {
            self.inner.component = component;
        }
        if self.inner.backend.is_empty() {
            self.inner.backend = backend.into();
        }
        if self.inner.operation.is_empty() {
            self.inner.operation = operation;
        }
        self
    }

    /// Attaches the error that caused this one, the driver's own for instance.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
    ) -> Self {
        self.inner.source = Some(Arc::from(source.into()));
        self
    }

    /// Sets the advice about repeating.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.inner.retry = retry;
        self
    }

    /// Declares that the failed operation certainly changed nothing (it was refused before it reached the backend),
    /// so that even an operation that is not idempotent may be repeated.
    #[must_use]
    pub fn without_effect(mut self) -> Self {
        self.inner.no_effect = true;
        self
    }

    /// Adds what was being done, in front of the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.inner.message = Cow::Owned(format!("{context}: {}", self.inner.message));
        self
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// What repeating would do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.inner.retry
    }

    /// Whether a repetition may succeed and nobody has tried enough yet.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self.inner.retry, Retry::Backoff | Retry::After(_))
    }

    /// Whether the failure may pass with time, also where somebody below has tried as often as allowed
    /// ([`Retry::Exhausted`]).
    ///
    /// For what goes on for ever with pauses of its own, or has something else to fall back on. Whoever repeats a call asks
    /// [`is_retryable`](Self::is_retryable), so that attempts are not multiplied.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.inner.retry != Retry::Never
    }

    /// The least delay before a repetition, where the failure came with one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self.inner.retry {
            Retry::After(delay) => Some(delay),
            _ => None,
        }
    }

    /// Whether the failed operation certainly changed nothing.
    #[must_use]
    pub fn had_no_effect(&self) -> bool {
        self.inner.no_effect
    }

    /// The component that failed (`"cache"`, `"locks"` …), or `""` when it is not known.
    #[must_use]
    pub fn component(&self) -> &'static str {
        self.inner.component
    }

    /// The backend that failed (`"memory"`, `"redis"` …), or `""`.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.inner.backend
    }

    /// The operation that failed (`"get"`, `"acquire"` …), or `""`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.inner.operation
    }

    /// The message alone, without the place and the kind.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The driver's own error, if the cause is of type `T` anywhere down the chain of sources.
    ///
    /// ```
    /// use infra_core::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Unavailable, "cannot read the snapshot")
    ///     .with_source(std::io::Error::other("disk gone"));
    /// assert!(error.downcast_source::<std::io::Error>().is_some());
    /// ```
    #[must_use]
    pub fn downcast_source<T: std::error::Error + 'static>(&self) -> Option<&T> {
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            if let Some(found) = source.downcast_ref::<T>() {
                return Some(found);
            }
            next = source.source();
        }
        None
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        let mut place = false;
        for part in [inner.component, inner.operation] {
            if !part.is_empty() {
                if place {
                    f.write_str(" ")?;
                }
                f.write_str(part)?;
                place = true;
            }
        }
        if !inner.backend.is_empty() {
            write!(f, "{}on {}", if place { " " } else { "" }, inner.backend)?;
            place = true;
        }
        write!(
            f,
            "{}{} ({})",
            if place { ": " } else { "" },
            inner.message,
            inner.kind
        )
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}; retry: {:?}", self.inner.retry)?;
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            write!(f, "\n  caused by: {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner
            .source
            .as_deref()
            .map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_frozen_and_distinct() {
        let names: std::collections::BTreeSet<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        assert!(
            names
                .iter()
                .all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        );
    }

    #[test]
    fn credentials_are_never_retryable_by_default() {
        for kind in [ErrorKind::Unauthenticated, ErrorKind::PermissionDenied] {
            assert!(!Error::new(kind, "refused").is_retryable());
        }
    }

    #[test]
    fn innermost_place_wins_and_context_reads_outside_in() {
        let error = Error::new(ErrorKind::Unavailable, "connection refused")
            .at("cache", "redis", "get")
            .at("once", "store", "claim")
            .context("loading the profile");
        assert_eq!(
            error.to_string(),
            "cache get on redis: loading the profile: connection refused (unavailable)"
        );
    }

    #[test]
    fn exhausted_only_changes_what_could_be_repeated() {
        assert_eq!(
            Error::new(ErrorKind::Timeout, "t").exhausted().retry(),
            Retry::Exhausted
        );
        assert_eq!(Error::invalid_argument("i").exhausted().retry(), Retry::Never);
    }
}
