//! What is to happen to which calls: scripts, single calls, chances; and what was asked for and never met. No I/O.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;

use super::Fault;
use crate::intercept::method::Call;

/// So many requests that were taken back unmet are remembered.
const MAX_TAKEN_BACK: usize = 100;

/// Which calls are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) label: String,
    pub(super) subject: Option<String>,
}

impl Pattern {
    pub(super) fn matches(&self, call: &Call<'_>) -> bool {
        self.names(call.method().label())
            && self
                .subject
                .as_deref()
                .is_none_or(|subject| call.subject() == Some(subject))
    }

    /// Whether this method is meant, or one of its component, or all.
    fn names(&self, method: &str) -> bool {
        let component = || method.split('.').next();
        self.label == EVERYTHING
            || self.label == method
            || self
                .label
                .strip_suffix(".*")
                .is_some_and(|wanted| component() == Some(wanted))
    }
}

/// The label of every call.
const EVERYTHING: &str = "*";

/// What happens to the calls that are meant.
#[derive(Debug, Clone)]
pub(super) enum Course {
    /// These, call by call.
    Script(VecDeque<Fault>),
    /// This to every call.
    Always(Fault),
    /// This to the one after so many others, whatever happens to those.
    Nth { others: u64, fault: Fault },
    /// This with a probability.
    Chance { probability: f64, fault: Fault },
}

#[derive(Debug)]
struct Rule {
    pattern: Pattern,
    course: Course,
    met: bool,
}

impl Rule {
    /// How many faults it has yet to give out; an endless one has none that could be left over.
    fn remaining(&self) -> usize {
        match &self.course {
            Course::Script(left) => left.len(),
            Course::Nth { .. } => 1,
            Course::Always(_) | Course::Chance { .. } => 0,
        }
    }

    /// What to say of it when nothing has met it. What is endless may wait for calls that a test proves not to come; then its
    /// name is known from calls before it was asked for. A chance for everything names nothing that could be mistyped.
    fn unused(&self, seen: &BTreeSet<&'static str>) -> Option<UnusedFault> {
        let excused = match self.course {
            Course::Script(_) | Course::Nth { .. } => false,
            Course::Always(_) => seen.iter().any(|method| self.pattern.names(method)),
            Course::Chance { .. } => {
                self.pattern.label == EVERYTHING || seen.iter().any(|method| self.pattern.names(method))
            }
        };
        (!self.met && !excused).then(|| UnusedFault {
            label: self.pattern.label.clone(),
            subject: self.pattern.subject.clone(),
        })
    }
}

/// Faults that were asked for and that no call has met: perhaps the name is not that of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnusedFault {
    /// The name that was given: `"cache.get"`.
    pub label: String,
    /// The subject that was given, if any.
    pub subject: Option<String>,
}

impl fmt::Display for UnusedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.label)?;
        match &self.subject {
            Some(subject) => write!(f, " with subject {subject:?}"),
            None => Ok(()),
        }
    }
}

/// What happens to one call.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) fault: Fault,
    /// Which calls the one who asked for it meant.
    pub(super) pattern: Option<Pattern>,
}

/// Everything that is to happen.
#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    rules: Vec<Rule>,
    /// What was taken back before anything met it.
    taken_back: Vec<UnusedFault>,
    seen: BTreeSet<&'static str>,
    /// One source of chance for each method, so that what happens to one does not depend on calls of the others.
    random: HashMap<&'static str, fastrand::Rng>,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            rules: Vec::new(),
            taken_back: Vec::new(),
            seen: BTreeSet::new(),
            random: HashMap::new(),
        }
    }

    pub(super) fn add(&mut self, pattern: Pattern, course: Course) {
        let rule = Rule {
            pattern,
            course,
            met: false,
        };
        let is_empty = matches!(&rule.course, Course::Script(left) if left.is_empty());
        if !is_empty {
            self.rules.push(rule);
        }
    }

    /// Takes back what was asked for under exactly this name and subject; everything, under none.
    pub(super) fn clear(&mut self, which: Option<&Pattern>) {
        let Self {
            rules,
            taken_back,
            seen,
            ..
        } = self;
        let taken = rules.extract_if(.., |rule| which.is_none_or(|which| rule.pattern == *which));
        let unused = taken.filter_map(|rule| rule.unused(seen));
        taken_back.extend(unused);
        taken_back.truncate(MAX_TAKEN_BACK);
    }

    pub(super) fn remaining(&self) -> usize {
        self.rules.iter().map(Rule::remaining).sum()
    }

    pub(super) fn unused(&self) -> Vec<UnusedFault> {
        let waiting = self.rules.iter().filter_map(|rule| rule.unused(&self.seen));
        self.taken_back.iter().cloned().chain(waiting).collect()
    }

    /// The methods that were called.
    pub(super) fn seen(&self) -> &BTreeSet<&'static str> {
        &self.seen
    }

    pub(super) fn next(&mut self, call: &Call<'_>) -> Decision {
        self.seen.insert(call.method().label());
        for rule in &mut self.rules {
            rule.met |= rule.pattern.matches(call);
        }
        let decided = self
            .take_nth(call)
            .or_else(|| self.take_scripted(call))
            .or_else(|| self.draw(call));
        let Some((index, fault)) = decided else {
            return Decision {
                fault: Fault::Ok,
                pattern: None,
            };
        };
        let pattern = Some(self.rules[index].pattern.clone());
        let spent = matches!(&self.rules[index].course, Course::Script(left) if left.is_empty())
            || matches!(self.rules[index].course, Course::Nth { .. });
        if spent {
            self.rules.remove(index);
        }
        Decision { fault, pattern }
    }

    /// Counts the call, and gives the fault whose turn it is. Of two whose turn it is, the second has the next call.
    fn take_nth(&mut self, call: &Call<'_>) -> Option<(usize, Fault)> {
        let mut taken = None;
        for (index, rule) in self.rules.iter_mut().enumerate() {
            let Course::Nth { others, fault } = &mut rule.course else {
                continue;
            };
            if !rule.pattern.matches(call) {
                continue;
            }
            match others.checked_sub(1) {
                Some(left) => *others = left,
                None if taken.is_none() => taken = Some((index, fault.clone())),
                None => {}
            }
        }
        taken
    }

    fn take_scripted(&mut self, call: &Call<'_>) -> Option<(usize, Fault)> {
        let rules = self.rules.iter_mut().enumerate();
        let mut wanting = rules.filter(|(_, rule)| rule.pattern.matches(call));
        wanting.find_map(|(index, rule)| match &mut rule.course {
            Course::Script(left) => Some((index, left.pop_front()?)),
            Course::Always(fault) => Some((index, fault.clone())),
            Course::Nth { .. } | Course::Chance { .. } => None,
        })
    }

    fn draw(&mut self, call: &Call<'_>) -> Option<(usize, Fault)> {
        let label = call.method().label();
        let seed = self.seed;
        for (index, rule) in self.rules.iter().enumerate() {
            if let Course::Chance { probability, fault } = &rule.course
                && rule.pattern.matches(call)
            {
                let random = self
                    .random
                    .entry(label)
                    .or_insert_with(|| fastrand::Rng::with_seed(mixed(seed, label)));
                if random.f64() < *probability {
                    return Some((index, fault.clone()));
                }
            }
        }
        None
    }
}

/// A seed for one method, the same on every machine and in every version (FNV-1a).
fn mixed(seed: u64, label: &str) -> u64 {
    label.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
