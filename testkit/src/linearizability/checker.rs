//! The search for an order that explains a history.

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::time::{Duration, Instant};

use super::history::{Entry, History};
use crate::conformance::{Failure, Outcome};

/// What a thing does when calls come one after the other.
pub trait Model {
    /// What one key holds.
    type State: Clone + Eq + Hash + Debug;
    /// What can be called.
    type Operation: Clone + Debug;
    /// What can be answered.
    type Answer: Clone + Debug;

    /// What a key holds before the first call.
    fn initial(&self) -> Self::State;

    /// What the key holds after `operation` was answered with `answer`, or `None` where it could not have been answered so.
    ///
    /// Without an answer: what it holds after the operation took effect, or `None` where it has none now. That such an operation never
    /// takes effect is for the checker to consider. Where an effect has a part that only the answer tells (a version, a token), the state
    /// must say that it is not known.
    fn step(
        &self,
        state: &Self::State,
        operation: &Self::Operation,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}

/// What was found out about a history.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linearizable(Summary),
    /// There is none for one of the keys.
    Violated(Violation),
    /// The time was over before it was clear: record fewer calls on more keys.
    Undecided(Summary),
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Calls.
    pub calls: usize,
    /// Of them, those whose outcome is unknown.
    pub unknown: usize,
    /// Keys.
    pub keys: usize,
    /// Steps of the search.
    pub steps: usize,
}

impl Verdict {
    /// Nothing for a linearizable history, and a failure that can be read otherwise.
    ///
    /// # Errors
    /// The violation; or that it was not decided in time.
    #[track_caller]
    pub fn into_outcome(self) -> Outcome {
        match self {
            Self::Linearizable(_) => Ok(()),
            Self::Violated(violation) => Err(Failure::broken(violation.to_string())),
            Self::Undecided(summary) => Err(Failure::broken(format!(
                "whether the history is linearizable was not decided in time ({summary:?}); record fewer calls on more keys, or allow more time"
            ))),
        }
    }
}

/// Why there is no order: the longest one that could be begun, and the calls of which none can come next.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The key.
    pub key: String,
    /// The calls of the longest order that was found, oldest first, and what the key holds after each.
    pub order: Vec<(String, String)>,
    /// What the key holds before the first call.
    pub initial: String,
    /// The calls of which one had to come next, and none could have been answered so.
    pub stuck: Vec<String>,
}

/// So many calls of the order are printed; the newest tell most.
const SHOWN: usize = 12;

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the calls on {:?} are not linearizable", self.key)?;
        writeln!(f, "the longest order that explains its answers:")?;
        let hidden = self.order.len().saturating_sub(SHOWN);
        match hidden {
            0 => writeln!(f, "  at first                           {}", self.initial)?,
            _ => writeln!(f, "  ({hidden} earlier calls)")?,
        }
        for (call, state) in self.order.iter().skip(hidden) {
            writeln!(f, "  {call}\n    then it holds {state}")?;
        }
        write!(f, "one of these had to come next, and none fits:")?;
        self.stuck.iter().try_for_each(|call| write!(f, "\n  {call}"))
    }
}

/// Searches an order, on each key by itself, for at most `within` of real time in total.
#[must_use]
pub fn check<M: Model>(model: &M, history: &History<M::Operation, M::Answer>, within: Duration) -> Verdict {
    let deadline = Instant::now() + within;
    let mut summary = Summary::default();
    let mut keys: BTreeMap<&str, Vec<&EntryOf<M>>> = BTreeMap::new();
    for entry in &history.entries {
        keys.entry(&entry.key).or_default().push(entry);
        summary.calls += 1;
        summary.unknown += usize::from(entry.answer.is_none());
    }
    summary.keys = keys.len();
    let mut decided = true;
    for (key, entries) in keys {
        let mut search = Search::new(model, entries, deadline);
        let found = search.run();
        summary.steps += search.steps;
        match found {
            Some(true) => {}
            Some(false) => return Verdict::Violated(search.violation(key)),
            None => decided = false,
        }
    }
    if decided {
        Verdict::Linearizable(summary)
    } else {
        Verdict::Undecided(summary)
    }
}

type EntryOf<M> = Entry<<M as Model>::Operation, <M as Model>::Answer>;

/// Which calls are in the order so far: of the answered ones all before `first` and those in `ahead`; and which others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Taken {
    first: usize,
    ahead: Vec<usize>,
    unknown: Vec<usize>,
}

/// A call, by its place in one of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pick {
    Answered(usize),
    Unknown(usize),
}

/// A place in the search to come back to.
struct Frame<S> {
    taken: Taken,
    state: S,
    /// Those that may come next and were not tried yet.
    left: Vec<Pick>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    /// In the order of their starts.
    answered: Vec<&'a EntryOf<M>>,
    unknown: Vec<&'a EntryOf<M>>,
    /// What was tried already: the same calls taken, in whatever order, with the same state.
    seen: HashSet<(Taken, M::State)>,
    deadline: Instant,
    steps: usize,
    /// The order of the deepest position, with how many answered calls it has.
    deepest: (usize, Vec<Pick>),
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, mut entries: Vec<&'a EntryOf<M>>, deadline: Instant) -> Self {
        entries.sort_by_key(|entry| entry.invoked);
        let (answered, unknown) = entries.into_iter().partition(|entry| entry.answer.is_some());
        Self {
            model,
            answered,
            unknown,
            seen: HashSet::new(),
            deadline,
            steps: 0,
            deepest: (0, Vec::new()),
        }
    }

    /// Whether there is an order; `None` when the time is over.
    fn run(&mut self) -> Option<bool> {
        let taken = Taken::default();
        let left = self.candidates(&taken);
        let mut frames = vec![Frame {
            taken,
            state: self.model.initial(),
            left,
        }];
        let mut order: Vec<Pick> = Vec::new();
        while let Some(frame) = frames.last_mut() {
            if frame.taken.first == self.answered.len() {
                return Some(true);
            }
            self.steps += 1;
            if self.steps.is_multiple_of(1024) && Instant::now() > self.deadline {
                return None;
            }
            let Some(pick) = frame.left.pop() else {
                frames.pop();
                order.pop();
                continue;
            };
            let entry = self.entry(pick);
            let Some(state) = self
                .model
                .step(&frame.state, &entry.operation, entry.answer.as_ref())
            else {
                continue;
            };
            let taken = frame.taken.with(pick);
            if !self.seen.insert((taken.clone(), state.clone())) {
                continue;
            }
            order.push(pick);
            if taken.answered() > self.deepest.0 {
                self.deepest = (taken.answered(), order.clone());
            }
            let left = self.candidates(&taken);
            frames.push(Frame { taken, state, left });
        }
        Some(false)
    }

    fn entry(&self, pick: Pick) -> &'a EntryOf<M> {
        match pick {
            Pick::Answered(place) => self.answered[place],
            Pick::Unknown(place) => self.unknown[place],
        }
    }

    /// The calls that began before every call not yet taken had ended. The last is tried first: answered calls, oldest first.
    fn candidates(&self, taken: &Taken) -> Vec<Pick> {
        let mut end = u64::MAX;
        let mut picks = Vec::new();
        for (place, entry) in self.answered.iter().enumerate().skip(taken.first) {
            if entry.invoked > end {
                break;
            }
            if taken.ahead.binary_search(&place).is_err() {
                end = end.min(entry.returned);
                picks.push(Pick::Answered(place));
            }
        }
        let lost = self.unknown.iter().enumerate();
        let lost = lost.take_while(|(_, entry)| entry.invoked < end);
        let lost = lost.filter(|(place, _)| taken.unknown.binary_search(place).is_err());
        picks.extend(lost.map(|(place, _)| Pick::Unknown(place)));
        picks.reverse();
        picks
    }

    fn violation(&self, key: &str) -> Violation {
        let mut state = self.model.initial();
        let mut taken = Taken::default();
        let mut order = Vec::new();
        for pick in &self.deepest.1 {
            let entry = self.entry(*pick);
            if let Some(next) = self.model.step(&state, &entry.operation, entry.answer.as_ref()) {
                state = next;
            }
            taken = taken.with(*pick);
            order.push((entry.to_string(), format!("{state:?}")));
        }
        let stuck = self.candidates(&taken).into_iter().rev();
        Violation {
            key: key.to_owned(),
            order,
            initial: format!("{:?}", self.model.initial()),
            stuck: stuck.map(|pick| self.entry(pick).to_string()).collect(),
        }
    }
}

impl Taken {
    fn answered(&self) -> usize {
        self.first + self.ahead.len()
    }

    fn with(&self, pick: Pick) -> Self {
        let mut taken = self.clone();
        let (list, place) = match pick {
            Pick::Answered(place) => (&mut taken.ahead, place),
            Pick::Unknown(place) => (&mut taken.unknown, place),
        };
        if let Err(index) = list.binary_search(&place) {
            list.insert(index, place);
        }
        let gone = taken.ahead.iter().zip(taken.first..);
        let gone = gone.take_while(|(place, first)| **place == *first).count();
        taken.ahead.drain(..gone);
        taken.first += gone;
        taken
    }
}
