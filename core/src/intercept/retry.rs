//! Repeating calls that failed.

use super::interceptor::{Enter, Exit, Interceptor, Outcome, Role, Scope, Status};
use super::method::Call;
use crate::error::ErrorKind;
use crate::retry::{Attempts, Budget, Idempotence, Policy, SharedPolicy};

/// Repeats failed calls as a [`retry::Policy`](Policy) says, within a budget that all of them share.
///
/// Idempotent methods are repeated after any error that the policy lets through; the others only after an error that
/// certainly had no effect; methods marked `#[call(once)]` never. A method that waits by design (`#[call(waits)]`) is not repeated when
/// its time is over: the caller said how long to wait, and meant once. When attempts, time or budget have run out, the last
/// error says so and is marked [`Retry::Exhausted`](crate::Retry::Exhausted), so that an outer retry does not multiply the attempts.
///
/// The policy's `total_deadline` bounds everything inside, except for methods that wait by design. Its `attempt_timeout` is not applied
/// here: put a [`Timeout`](super::Timeout) inside, as [`StandardStack`](super::StandardStack) does.
#[derive(Debug)]
pub struct Retrying {
    source: Source,
    /// Shared with others, in the place of the policy's own.
    budget: Option<Budget>,
}

/// Where the policy is.
#[derive(Debug)]
enum Source {
    Fixed(Box<(Policy, Budget)>),
    Shared(SharedPolicy),
}

impl Retrying {
    /// Repeats with a budget of its own, made as the policy says.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        let budget = policy.new_budget();
        Self {
            source: Source::Fixed(Box::new((policy, budget))),
            budget: None,
        }
    }

    /// Repeats as a policy says that may change while calls are made: a call goes on by the policy with which it began to
    /// fail.
    #[must_use]
    pub fn following(policy: SharedPolicy) -> Self {
        Self {
            source: Source::Shared(policy),
            budget: None,
        }
    }

    /// Shares `budget` with others, one per downstream server for example.
    #[must_use]
    pub fn with_budget(mut self, budget: &Budget) -> Self {
        self.budget = Some(budget.clone());
        self
    }

    /// The budget now.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.read(|_, budget| budget.clone())
    }

    fn read<R>(&self, look: impl FnOnce(&Policy, &Budget) -> R) -> R {
        let look = |policy: &Policy, own: &Budget| look(policy, self.budget.as_ref().unwrap_or(own));
        match &self.source {
            Source::Fixed(fixed) => look(&fixed.0, &fixed.1),
            Source::Shared(shared) => shared.read(look),
        }
    }

    fn attempts(&self, call: &Call<'_>) -> Attempts {
        let idempotence = if call.method().is_idempotent() {
            Idempotence::Idempotent
        } else {
            Idempotence::NotIdempotent
        };
        self.read(|policy, budget| policy.start(idempotence).with_budget(budget))
    }
}

/// The state of a call whose first attempt has paid into the budget.
const DEPOSITED: u64 = 1;

impl Interceptor for Retrying {
    fn name(&self) -> &'static str {
        "retry"
    }

    fn role(&self) -> Role {
        Role::Retry
    }

    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        if !call.method().waits()
            && let Some(limit) = self.read(|policy, _| policy.total_deadline)
        {
            scope.bound(limit);
        }
        Enter::Proceed
    }

    fn exit(&self, call: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        let state = scope.state();
        if std::mem::replace(&mut state.number, DEPOSITED) != DEPOSITED {
            self.read(|_, budget| budget.deposit_at(outcome.at()));
        }
        let Status::Err(failed) = outcome.status() else {
            return Exit::Done;
        };
        let Some(error) = failed.error().filter(|_| call.may_repeat(outcome)) else {
            return Exit::Done;
        };
        if call.method().waits() && error.kind() == ErrorKind::Timeout {
            return Exit::Done;
        }
        // Made at the first failure, so that success allocates nothing.
        let attempts = state.value.get_or_insert_with(|| Box::new(self.attempts(call)));
        let Some(attempts) = attempts.downcast_mut::<Attempts>() else {
            return Exit::Done;
        };
        match attempts.next_delay(error, outcome.elapsed()) {
            Some(after) => Exit::Repeat { after },
            None => Exit::Conclude(attempts.conclude(error.clone(), outcome.elapsed())),
        }
    }
}
