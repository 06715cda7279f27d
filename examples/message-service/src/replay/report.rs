//! What a replay found, and whether its numbers agree.

use std::fmt;
use std::time::Duration;

use super::BrokenLine;

/// How many broken lines and failures are shown one by one.
const SHOWN: usize = 10;

/// How long requests took.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.0.push(latency);
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The time within which this share (0 to 1) of the requests was done; zero without requests.
    #[must_use]
    pub fn quantile(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        let Some(last) = self.0.len().checked_sub(1) else {
            return Duration::ZERO;
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index below the length"
        )]
        let index = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
        self.0.get(index).copied().unwrap_or_default()
    }
}

/// The result of a replay. "Added" counts what this run added; "of the file" what the file has in the system by now.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Lines that are messages.
    pub messages: u64,
    /// Lines that are not, and were skipped.
    pub broken: Vec<BrokenLine>,
    /// Requests that failed for good: line and reason.
    pub failed: Vec<(u64, String)>,
    /// Messages sent that were new.
    pub sent: u64,
    /// Messages that had been sent before, and were refused.
    pub duplicates: u64,
    /// Rows added to the database.
    pub stored: u64,
    /// Messages delivered to the consumer, each counted once.
    pub delivered: u64,
    /// Documents added to the index.
    pub indexed: u64,
    /// Distinct messages of the file.
    pub distinct: u64,
    /// How many of them the database has, each exactly once.
    pub in_database: u64,
    /// How many of them the index has.
    pub in_index: u64,
    /// From the first request to the last delivery.
    pub elapsed: Duration,
    /// The median time of a request.
    pub p50: Duration,
    /// The time within which 99 of 100 requests were done.
    pub p99: Duration,
}

impl Report {
    /// Every pair of numbers that should be equal and is not.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let answered = self.sent + self.duplicates + self.failed.len() as u64;
        let pairs = [
            (
                "messages in the file",
                self.messages,
                "messages answered",
                answered,
            ),
            ("sent", self.sent, "stored", self.stored),
            ("sent", self.sent, "delivered", self.delivered),
            ("sent", self.sent, "indexed", self.indexed),
            (
                "distinct messages",
                self.distinct,
                "of them in the database, once",
                self.in_database,
            ),
            (
                "distinct messages",
                self.distinct,
                "of them in the index",
                self.in_index,
            ),
        ];
        let unequal = pairs.into_iter().filter(|(_, left, _, right)| left != right);
        unequal
            .map(|(left, a, right, b)| format!("{left} ({a}) and {right} ({b}) disagree"))
            .collect()
    }

    /// The exit code: 0 when all agrees, 2 when all agrees but lines were broken, 1 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if !self.failed.is_empty() || !self.disagreements().is_empty() {
            1
        } else if !self.broken.is_empty() {
            2
        } else {
            0
        }
    }

    /// Messages per second, from the first request to the last delivery.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for human eyes")]
        let messages = self.messages as f64;
        messages / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "messages in the file  {:>8}", self.messages)?;
        writeln!(f, "broken lines skipped  {:>8}", self.broken.len())?;
        for line in self.broken.iter().take(SHOWN) {
            writeln!(f, "    line {}: {}", line.line, line.problem)?;
        }
        writeln!(f, "failed                {:>8}", self.failed.len())?;
        for (line, reason) in self.failed.iter().take(SHOWN) {
            writeln!(f, "    line {line}: {reason}")?;
        }
        writeln!(f, "sent                  {:>8}", self.sent)?;
        writeln!(f, "duplicates refused    {:>8}", self.duplicates)?;
        writeln!(f, "stored                {:>8}", self.stored)?;
        writeln!(f, "delivered             {:>8}", self.delivered)?;
        writeln!(f, "indexed               {:>8}", self.indexed)?;
        writeln!(
            f,
            "of the file's {} messages, {} are in the database once, {} in the index",
            self.distinct, self.in_database, self.in_index
        )?;
        writeln!(
            f,
            "throughput            {:>8.0} messages/s over {:.2} s",
            self.throughput(),
            self.elapsed.as_secs_f64()
        )?;
        writeln!(
            f,
            "latency of a request       p50 {:.2?}, p99 {:.2?}",
            self.p50, self.p99
        )?;
        match self.disagreements().as_slice() {
            [] => write!(f, "all numbers agree"),
            found => write!(f, "DISAGREEMENT: {}", found.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreeing() -> Report {
        Report {
            messages: 3,
            sent: 2,
            duplicates: 1,
            stored: 2,
            delivered: 2,
            indexed: 2,
            distinct: 2,
            in_database: 2,
            in_index: 2,
            ..Report::default()
        }
    }

    #[test]
    fn any_number_that_disagrees_changes_the_exit_code() {
        assert_eq!(agreeing().exit_code(), 0);
        let spoil: [fn(&mut Report); 8] = [
            |r| r.messages += 1,
            |r| r.sent += 1,
            |r| r.duplicates += 1,
            |r| r.stored -= 1,
            |r| r.delivered -= 1,
            |r| r.indexed += 1,
            |r| r.in_database -= 1,
            |r| r.in_index -= 1,
        ];
        for (number, spoil) in spoil.into_iter().enumerate() {
            let mut report = agreeing();
            spoil(&mut report);
            assert_eq!(report.exit_code(), 1, "number {number}");
        }
    }

    #[test]
    fn broken_lines_have_an_exit_code_of_their_own() {
        let mut report = agreeing();
        report.broken.push(BrokenLine {
            line: 7,
            problem: "it is not JSON (column 1)".into(),
        });
        assert_eq!(report.exit_code(), 2);
        assert!(report.to_string().contains("line 7: it is not JSON"));
    }

    #[test]
    fn quantiles_of_few_and_many() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.99), Duration::ZERO);
        (1..=100)
            .rev()
            .for_each(|n| latencies.add(Duration::from_millis(n)));
        assert_eq!(latencies.quantile(0.0), Duration::from_millis(1));
        assert_eq!(latencies.quantile(0.99), Duration::from_millis(99));
    }
}
