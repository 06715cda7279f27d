//! What the leased numbers of one service do.

use std::collections::BTreeMap;

use super::checker::Model;

/// What is called for one service of an [`InstanceIds`](infra_core::coordination::InstanceIds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NumberOperation {
    /// Leases a number, for a holder with a number that nobody else in the history has.
    Acquire(u64),
    /// The end of what this holder held: a release, a drop, or the loss of the lease.
    Release(u64),
}

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NumberAnswer {
    /// This number.
    Leased(u16),
    /// Every number is taken, or in quarantine.
    Exhausted,
    /// It is given back.
    Released,
}

/// Numbers of which each has one holder at a time.
///
/// How long a number stays in quarantine is not looked at: it may be leased again as soon as it is given back, and counts as used up ever
/// after its first lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NumberModel {
    /// How many numbers there are.
    pub range: usize,
}

impl NumberModel {
    /// Numbers of a range of this length.
    #[must_use]
    pub const fn new(range: usize) -> Self {
        Self { range }
    }
}

/// Who holds what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct NumberState {
    /// Each number that was ever leased, with its holder.
    used: BTreeMap<u16, Option<u64>>,
    /// Leases of which nobody was told.
    unaware: usize,
}

impl Model for NumberModel {
    type State = NumberState;
    type Operation = NumberOperation;
    type Answer = NumberAnswer;

    fn initial(&self) -> NumberState {
        NumberState::default()
    }

    fn step(
        &self,
        state: &NumberState,
        operation: &NumberOperation,
        answer: Option<&NumberAnswer>,
    ) -> Option<NumberState> {
        let mut after = state.clone();
        match (*operation, answer.copied()) {
            (NumberOperation::Acquire(one), Some(NumberAnswer::Leased(number))) => {
                let holder = after.used.entry(number).or_default();
                holder.replace(one).is_none().then_some(after)
            }
            (NumberOperation::Acquire(_), Some(NumberAnswer::Exhausted)) => {
                (state.used.len() + state.unaware >= self.range).then_some(after)
            }
            (NumberOperation::Acquire(_), None) => {
                after.unaware += 1;
                Some(after)
            }
            (NumberOperation::Release(one), Some(NumberAnswer::Released) | None) => {
                let mut holders = after.used.values_mut();
                let holder = holders.find(|holder| **holder == Some(one))?;
                *holder = None;
                Some(after)
            }
            _ => None,
        }
    }
}
