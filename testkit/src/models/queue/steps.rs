//! What can happen to a queue and its consumers.

use std::fmt;
use std::num::NonZeroU32;

use proptest::collection::vec;
use proptest::sample::select;
use proptest::strategy::{Just, Strategy, Union};

/// After so many failed attempts a message goes to the dead letters.
pub(super) const MOST_ATTEMPTS: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

const KEYS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone)]
pub(super) enum Step {
    /// A message of this key, and what its handler answers at each attempt; it acknowledges all later ones.
    Send(&'static str, Vec<Reply>),
    /// Time passes.
    Wait(u8),
    /// One more member, if there are not too many.
    Join,
    /// The oldest member of several drains.
    Leave,
    /// The oldest member of several is gone without a word.
    Crash,
}

/// What a handler does with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Ack,
    /// Acknowledges after so many units.
    AckAfter(u8),
    Fail,
    Retry(u8),
    DeadLetter,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(key, replies) => write!(f, "send {key:?}, whose handler answers {replies:?}"),
            Self::Wait(units) => write!(f, "wait {units}"),
            Self::Join => f.write_str("a member joins"),
            Self::Leave => f.write_str("a member leaves"),
            Self::Crash => f.write_str("a member crashes"),
        }
    }
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let reply = Union::new_weighted(vec![
        (4, Just(Reply::Ack).boxed()),
        (2, (1..5_u8).prop_map(Reply::AckAfter).boxed()),
        (2, Just(Reply::Fail).boxed()),
        (1, (1..5_u8).prop_map(Reply::Retry).boxed()),
        (1, Just(Reply::DeadLetter).boxed()),
    ]);
    let send = (select(&KEYS[..]), vec(reply, 0..4)).prop_map(|(key, replies)| Step::Send(key, replies));
    Union::new_weighted(vec![
        (8, send.boxed()),
        (3, (1..6_u8).prop_map(Step::Wait).boxed()),
        (1, Just(Step::Join).boxed()),
        (1, Just(Step::Leave).boxed()),
        (1, Just(Step::Crash).boxed()),
    ])
}
