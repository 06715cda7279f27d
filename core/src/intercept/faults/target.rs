//! Naming the calls that are to misbehave, and saying how.

use super::plan::{Course, Pattern};
use super::{Fault, Faults};

/// The calls that are meant by [`Faults::on`]; says what happens to them from now on.
///
/// ```
/// use infra_core::ErrorKind;
/// use infra_core::intercept::{Fault, Faults};
///
/// let faults = Faults::new();
/// faults.on("cache.get").nth(3, Fault::Err(ErrorKind::Unavailable));
/// faults.on("cache.*").with_subject("user:7").always(Fault::Hang);
/// faults.on("producer.send").by_chance(0.05, Fault::DropReply);
/// // Later:
/// faults.on("cache.*").with_subject("user:7").clear();
/// ```
#[derive(Debug, Clone)]
#[must_use = "it only names calls; say what happens to them"]
pub struct FaultTarget<'a> {
    faults: &'a Faults,
    pattern: Pattern,
}

impl<'a> FaultTarget<'a> {
    pub(super) fn new(faults: &'a Faults, label: String) -> Self {
        Self {
            faults,
            pattern: Pattern { label, subject: None },
        }
    }

    /// Means only those of the calls whose first `&str` argument (a key, a topic, an index) is `subject`.
    pub fn with_subject(mut self, subject: impl Into<String>) -> Self {
        self.pattern.subject = Some(subject.into());
        self
    }

    /// Gives these faults to the next of the calls, in this order; [`Fault::Ok`] lets one through.
    pub fn script(self, faults: impl IntoIterator<Item = Fault>) {
        self.add(Course::Script(faults.into_iter().collect()));
    }

    /// Gives this fault to the `n`-th of the calls, counted from 1 and from now, whatever happens to the others. Goes before
    /// scripts. 0 is taken as 1.
    pub fn nth(self, n: u64, fault: Fault) {
        let others = n.saturating_sub(1);
        self.add(Course::Nth { others, fault });
    }

    /// Gives this fault to each of the calls, until [`clear`](Self::clear).
    pub fn always(self, fault: Fault) {
        self.add(Course::Always(fault));
    }

    /// Gives this fault to each of the calls with this probability (0 to 1, what is outside is taken as the nearer end), where no
    /// script wants it. Several are tried in the order in which they were added.
    ///
    /// Chance is drawn for each method by itself: with the same seed, its n-th call meets the same fault whatever is
    /// called meanwhile elsewhere.
    pub fn by_chance(self, probability: f64, fault: Fault) {
        let probability = if probability.is_nan() {
            0.0
        } else {
            probability.clamp(0.0, 1.0)
        };
        self.add(Course::Chance { probability, fault });
    }

    /// Takes back everything that was asked for under exactly this name and subject.
    pub fn clear(self) {
        self.faults.lock().plan.clear(Some(&self.pattern));
    }

    fn add(self, course: Course) {
        self.faults.lock().plan.add(self.pattern, course);
    }
}
