//! Bounding the time of a call.

use std::time::Duration;

use super::interceptor::{Enter, Interceptor, Role, Scope};
use super::method::Call;

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
    limit: Duration,
    methods: Vec<(&'static str, Duration)>,
}

impl Timeout {
    /// The same limit for every method.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self {
            limit,
            methods: Vec::new(),
        }
    }

    /// Another limit for one method, named by its label: `"cache.run_script"`.
    #[must_use]
    pub fn with_method(mut self, label: &'static str, limit: Duration) -> Self {
        self.methods.push((label, limit));
        self
    }

    fn limit(&self, label: &str) -> Duration {
        self.methods
            .iter()
            .rev()
            .find(|(method, _)| *method == label)
            .map_or(self.limit, |(_, limit)| *limit)
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
        if !call.method().waits() {
            scope.bound(self.limit(call.method().label()));
        }
        Enter::Proceed
    }
}
