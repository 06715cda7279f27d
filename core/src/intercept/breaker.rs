//! Refusing calls while the backend is unwell.

use std::sync::Arc;
use std::time::Duration;

use super::interceptor::{Enter, Exit, Interceptor, Outcome, Role, Scope, Status};
use super::method::Call;
use super::per_method::PerMethod;
use crate::breaker::{self, Breaker, BreakerProvider, Permit, Ticket};
use crate::error::ErrorKind;

/// Puts a circuit breaker in front of what it is wrapped around: one for each component and backend, named
/// `"{component}.{backend}"` (`"cache.redis"`), unless it was told to have one [for each method](Self::per_method).
///
/// Failures that are the caller's own count as nothing, a call after shutdown among them; so do calls that were cancelled or that panicked, whose permits are given
/// back. Methods that wait by design are never slow, and a wait that is over is no failure. A probe of a half-open breaker is bounded by the breaker's policy.
#[derive(Debug)]
pub struct CircuitBreaking {
    provider: Arc<dyn BreakerProvider>,
    per_method: bool,
    breakers: PerMethod<Arc<dyn Breaker>>,
}

impl CircuitBreaking {
    /// Takes breakers from `provider`, which decides on their policies and shows their state.
    #[must_use]
    pub fn new(provider: Arc<dyn BreakerProvider>) -> Self {
        Self {
            provider,
            per_method: false,
            breakers: PerMethod::new(),
        }
    }

    /// One breaker for each method, named `"{component}.{backend}.{method}"`: a broken method does not stop the others.
    #[must_use]
    pub fn per_method(mut self) -> Self {
        self.per_method = true;
        self
    }

    fn breaker(&self, call: &Call<'_>) -> &dyn Breaker {
        &**self.breakers.of(call, || {
            let (method, backend) = (call.method(), call.backend());
            let mut name = format!("{}.{backend}", method.component());
            if self.per_method {
                name = format!("{name}.{}", method.name());
            }
            self.provider.breaker(&name)
        })
    }
}

impl Interceptor for CircuitBreaking {
    fn name(&self) -> &'static str {
        "breaker"
    }

    fn role(&self) -> Role {
        Role::Breaker
    }

    fn repeats(&self) -> bool {
        false
    }

    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        match self.breaker(call).try_acquire() {
            Ok(permit) => {
                if let Some(limit) = permit.time_limit() {
                    scope.bound(limit);
                }
                scope.state().number = permit.into_ticket().bits();
                Enter::Proceed
            }
            Err(refusal) => Enter::Refuse(refusal),
        }
    }

    fn exit(&self, call: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let permit = Permit::resume(self.breaker(call), Ticket::from_bits(scope.state().number));
        let counts = match outcome.status() {
            Status::Ok => breaker::Outcome::Success,
            // The caller's time is over; that says nothing about the server. A contended lock must not stop all the others.
            Status::Err(failed) if call.method().waits() && failed.kind() == ErrorKind::Timeout => {
                breaker::Outcome::Ignored
            }
            Status::Err(failed) => breaker::outcome_of(failed.kind()),
            // Dropping the permit gives the place back.
            Status::Cancelled | Status::Panicked => return Exit::Done,
        };
        let elapsed = if call.method().waits() {
            Duration::ZERO
        } else {
            outcome.elapsed()
        };
        permit.record_at(counts, elapsed, outcome.at());
        Exit::Done
    }
}
