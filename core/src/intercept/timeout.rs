//! Bounding the time of a call.

use std::time::Duration;

use super::interceptor::{Enter, Interceptor, Role, Scope};
use super::method::Call;
use crate::retry::SharedPolicy;

/// Bounds the time of everything inside it; a call that takes longer is dropped and fails with
/// [`ErrorKind::Timeout`](crate::ErrorKind::Timeout).
///
/// Inside a retry it bounds each attempt. Methods marked `#[call(waits)]` are left alone: they have a bound of their own. A
/// call that is ready at once never touches a timer.
///
/// After a timeout the outcome of the call is unknown, so only idempotent methods are repeated after one.
///
/// Needs a tokio runtime with its timer enabled.
#[derive(Debug, Clone)]
pub struct Timeout {
    limit: Option<Duration>,
    /// Whose time for an attempt counts too, where it is shorter.
    policy: Option<SharedPolicy>,
    methods: Vec<(&'static str, Duration)>,
}

impl Timeout {
    /// The same limit for every method.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            policy: None,
            methods: Vec::new(),
        }
    }

    /// The shorter of `limit` and the time that a policy allows to each attempt, which may change while calls are made; no bound
    /// while neither says one.
    #[must_use]
    pub const fn following(policy: SharedPolicy, limit: Option<Duration>) -> Self {
        Self {
            limit,
            policy: Some(policy),
            methods: Vec::new(),
        }
    }

    /// Another limit for one method, named by its label: `"cache.run_script"`.
    #[must_use]
    pub fn with_method(mut self, label: &'static str, limit: Duration) -> Self {
        self.methods.push((label, limit));
        self
    }

    fn limit(&self, label: &str) -> Option<Duration> {
        let of_method = self.methods.iter().rev().find(|(method, _)| *method == label);
        if let Some((_, limit)) = of_method {
            return Some(*limit);
        }
        match &self.policy {
            None => self.limit,
            Some(policy) => {
                let of_attempt = policy.read(|policy, _| policy.attempt_timeout);
                self.limit.into_iter().chain(of_attempt).min()
            }
        }
    }
}

impl Interceptor for Timeout {
    fn name(&self) -> &'static str {
        "timeout"
    }

    fn role(&self) -> Role {
        Role::Timeout
    }

    fn repeats(&self) -> bool {
        false
    }

    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        if !call.method().waits()
            && let Some(limit) = self.limit(call.method().label())
        {
            scope.bound(limit);
        }
        Enter::Proceed
    }
}
