//! What is being called: the static description of a method, and one call of it.

use tokio::time::Instant;

use super::interceptor::{Outcome, Status};

/// The description of one method of an intercepted trait; the macro writes one `static` for each.
#[derive(Debug)]
pub struct Method {
    component: &'static str,
    name: &'static str,
    label: &'static str,
    idempotent: bool,
    waits: bool,
    once: bool,
}

impl Method {
    /// Describes a method; `label` is `"component.name"`, joined at compile time.
    #[must_use]
    pub const fn new(component: &'static str, name: &'static str, label: &'static str) -> Self {
        Self {
            component,
            name,
            label,
            idempotent: false,
            waits: false,
            once: false,
        }
    }

    /// The same method, declared idempotent: `#[call(idempotent)]`.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// The same method, declared to wait by design: `#[call(waits)]`.
    #[must_use]
    pub const fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }

    /// The same method, declared impossible to repeat: `#[call(once)]`.
    #[must_use]
    pub const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// The component: `"cache"`, `"locks"`, `"payments"`.
    #[must_use]
    pub const fn component(&self) -> &'static str {
        self.component
    }

    /// The method's name: `"get"`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Component and name with a dot between: `"cache.get"`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        self.label
    }

    /// Whether doing it twice leaves the same state as doing it once.
    #[must_use]
    pub const fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// Whether it waits by design up to a bound of its own, so that a timeout leaves it alone.
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.waits
    }

    /// Whether its arguments cannot be copied, so that it is never repeated.
    #[must_use]
    pub const fn is_once(&self) -> bool {
        self.once
    }
}

/// One call on its way through a stack.
#[derive(Debug)]
pub struct Call<'a> {
    method: &'static Method,
    backend: &'static str,
    subject: Option<&'a str>,
    pub(super) attempt: u32,
    pub(super) started: Instant,
}

impl<'a> Call<'a> {
    /// A call of `method` on `backend` that starts now; written by the macro.
    #[must_use]
    pub fn new(method: &'static Method, backend: &'static str, subject: Option<&'a str>) -> Self {
        Self {
            method,
            backend,
            subject,
            attempt: 1,
            started: Instant::now(),
        }
    }

    /// What is called.
    #[must_use]
    pub fn method(&self) -> &'static Method {
        self.method
    }

    /// The backend that serves it: `"memory"`, `"redis"`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// The first `&str` argument (a key, a topic, an index), if the method has one.
    ///
    /// It belongs in traces, logs and scripted faults; never in a metric label, since there is no end of keys.
    #[must_use]
    pub fn subject(&self) -> Option<&'a str> {
        self.subject
    }

    /// How many times the call has been started, this one included; 1 until something repeats it.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the call began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Whether [`Exit::Repeat`](super::Exit::Repeat) would be honoured after this outcome.
    ///
    /// It is when the call failed with an infrastructure error, the method can be repeated at all (no `#[call(once)]`),
    /// and either it is idempotent or the error certainly had no effect. Whether repeating is *wise* is not asked here.
    #[must_use]
    pub fn may_repeat(&self, outcome: &Outcome<'_>) -> bool {
        let Status::Err(failed) = outcome.status() else {
            return false;
        };
        !self.method.once
            && failed
                .error()
                .is_some_and(|error| self.method.idempotent || error.had_no_effect())
    }
}
