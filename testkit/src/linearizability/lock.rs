//! What one lock does.

use super::checker::Model;

/// What is called on one lock of a [`Locks`](infra_core::coordination::Locks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockOperation {
    /// `try_acquire` or `acquire`, by a holder with a number that nobody else in the history has.
    Acquire(u64),
    /// The end of what this holder held: a release, a drop, or the loss of the lease.
    Release(u64),
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LockAnswer {
    /// The lock is ours, with this fencing token.
    Granted(u64),
    /// Somebody else holds it.
    Taken,
    /// It is not ours any more.
    Released,
}

/// One lock that one holder has at a time, with tokens that only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockModel;

/// Who holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    Nobody,
    One(u64),
    /// Somebody who was not told of it; what nobody knows of is given back at some time.
    Unaware,
}

/// What is known of a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LockState {
    holder: Holder,
    newest: u64,
}

impl Model for LockModel {
    type State = LockState;
    type Operation = LockOperation;
    type Answer = LockAnswer;

    fn initial(&self) -> LockState {
        LockState {
            holder: Holder::Nobody,
            newest: 0,
        }
    }

    fn step(
        &self,
        state: &LockState,
        operation: &LockOperation,
        answer: Option<&LockAnswer>,
    ) -> Option<LockState> {
        let LockState { holder, newest } = *state;
        let free = matches!(holder, Holder::Nobody | Holder::Unaware);
        let held_by = |holder, newest| Some(LockState { holder, newest });
        match (*operation, answer.copied()) {
            (LockOperation::Acquire(one), Some(LockAnswer::Granted(token))) if free && token > newest => {
                held_by(Holder::One(one), token)
            }
            (LockOperation::Acquire(_), Some(LockAnswer::Taken)) if holder != Holder::Nobody => Some(*state),
            (LockOperation::Acquire(_), None) if holder == Holder::Nobody => held_by(Holder::Unaware, newest),
            (LockOperation::Release(one), Some(LockAnswer::Released) | None)
                if holder == Holder::One(one) =>
            {
                held_by(Holder::Nobody, newest)
            }
            _ => None,
        }
    }
}
