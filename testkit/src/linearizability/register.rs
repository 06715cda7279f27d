//! What a key of a cache does: strings that are numbers, compared, swapped and added to.

use super::checker::Model;

/// What is called on one key of a [`KeyValue`](infra_core::cache::KeyValue).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegisterOperation {
    /// `get`.
    Get,
    /// `set`.
    Set(i64),
    /// `set_if_absent`.
    SetIfAbsent(i64),
    /// `get_set`.
    GetSet(i64),
    /// `compare_and_set` from the first, `None` for absent, to the second.
    CompareAndSet(Option<i64>, i64),
    /// `delete`.
    Delete,
    /// `compare_and_delete`.
    CompareAndDelete(i64),
    /// `incr_by`.
    Increment(i64),
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RegisterAnswer {
    /// It was done: a set, or a compare-and-set whose expectation held.
    Done,
    /// Whether it was done: of `set_if_absent`, `delete` and `compare_and_delete`.
    Whether(bool),
    /// What is there (`get`), was there (`get_set`), or was there instead of what a compare-and-set expected.
    Value(Option<i64>),
    /// The sum of an increment.
    Sum(i64),
}

/// One key that holds a number or nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegisterModel;

impl Model for RegisterModel {
    type State = Option<i64>;
    type Operation = RegisterOperation;
    type Answer = RegisterAnswer;

    fn initial(&self) -> Self::State {
        None
    }

    fn step(
        &self,
        state: &Self::State,
        operation: &RegisterOperation,
        answer: Option<&RegisterAnswer>,
    ) -> Option<Self::State> {
        use RegisterAnswer::{Done, Sum, Value, Whether};
        let held = *state;
        let (after, expected) = match *operation {
            RegisterOperation::Get => (held, Value(held)),
            RegisterOperation::Set(value) => (Some(value), Done),
            RegisterOperation::SetIfAbsent(value) => (held.or(Some(value)), Whether(held.is_none())),
            RegisterOperation::GetSet(value) => (Some(value), Value(held)),
            RegisterOperation::CompareAndSet(wanted, value) if wanted == held => (Some(value), Done),
            RegisterOperation::CompareAndSet(..) => (held, Value(held)),
            RegisterOperation::Delete => (None, Whether(held.is_some())),
            RegisterOperation::CompareAndDelete(wanted) if held == Some(wanted) => (None, Whether(true)),
            RegisterOperation::CompareAndDelete(_) => (held, Whether(false)),
            RegisterOperation::Increment(difference) => {
                let sum = held.unwrap_or(0).checked_add(difference)?;
                (Some(sum), Sum(sum))
            }
        };
        match answer {
            Some(answer) => (*answer == expected).then_some(after),
            None => (after != held).then_some(after),
        }
    }
}
