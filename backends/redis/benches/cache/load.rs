//! Many tasks that ask for the same thing: how often it is done in a second, and how long one takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(250);

/// A client whose calls are measured; every task has one of its own.
pub(crate) trait Caller: Clone + Send + Sync + 'static {
    fn call(&self, number: u64) -> impl Future<Output = ()> + Send;
}

/// What was measured in one round.
struct Round {
    per_second: f64,
    /// In order.
    latencies: Vec<Duration>,
}

/// Measured clients; their rounds alternate, so that a busy machine slows all of them.
pub(crate) struct Comparison {
    title: String,
    tasks: usize,
    measured: Vec<(&'static str, Vec<Round>)>,
}

/// Runs a round of one client.
pub(crate) type Runner = Box<dyn Fn(usize) -> futures_util::future::BoxFuture<'static, Vec<Vec<Duration>>>>;

/// What to run, by name; the first one is what the others are compared to.
pub(crate) fn runner<C: Caller>(caller: C) -> Runner {
    Box::new(move |tasks| {
        let caller = caller.clone();
        Box::pin(async move { round(caller, tasks).await })
    })
}

async fn round<C: Caller>(caller: C, tasks: usize) -> Vec<Vec<Duration>> {
    let until = Instant::now() + ROUND;
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let caller = caller.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::with_capacity(4096);
                let mut number = task as u64;
                let mut begun = Instant::now();
                while begun < until {
                    caller.call(number).await;
                    let ended = Instant::now();
                    latencies.push(ended - begun);
                    (begun, number) = (ended, number.wrapping_add(997));
                }
                latencies
            })
        })
        .collect();
    let mut all = Vec::with_capacity(tasks);
    for task in running {
        all.push(task.await.expect("no panic"));
    }
    all
}

impl Comparison {
    /// Measures all of them with so many tasks.
    pub(crate) async fn run(
        title: impl Into<String>,
        tasks: usize,
        callers: Vec<(&'static str, Runner)>,
    ) -> Self {
        let mut measured: Vec<_> = callers.iter().map(|(name, _)| (*name, Vec::new())).collect();
        for number in 0..=ROUNDS {
            for (index, (_, run)) in callers.iter().enumerate() {
                let begun = Instant::now();
                let latencies = run(tasks).await;
                let elapsed = begun.elapsed();
                let mut latencies: Vec<Duration> = latencies.into_iter().flatten().collect();
                latencies.sort_unstable();
                // The first round warms up.
                if number > 0 {
                    let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
                    measured[index].1.push(Round {
                        per_second,
                        latencies,
                    });
                }
            }
        }
        Self {
            title: title.into(),
            tasks,
            measured,
        }
    }

    /// Prints one line for each, with ratios to the first.
    pub(crate) fn print(&self) {
        let first = summary(&self.measured[0].1);
        for (name, rounds) in &self.measured {
            let this = summary(rounds);
            println!(
                "{:<28} {:>4} tasks  {name:<18} {:>9.0}/s {:>5.2}   p50 {:>9.1?} {:>5.2}   p99 {:>9.1?} {:>5.2}",
                self.title,
                self.tasks,
                this.per_second,
                this.per_second / first.per_second,
                this.p50,
                this.p50.as_secs_f64() / first.p50.as_secs_f64(),
                this.p99,
                this.p99.as_secs_f64() / first.p99.as_secs_f64(),
            );
        }
    }
}

struct Summary {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

/// The medians over the rounds.
fn summary(rounds: &[Round]) -> Summary {
    fn median<T: PartialOrd + Copy>(values: impl Iterator<Item = T>) -> T {
        let mut values: Vec<T> = values.collect();
        values.sort_unstable_by(|a, b| a.partial_cmp(b).expect("numbers"));
        values[values.len() / 2]
    }
    let part = |percent: usize| {
        median(rounds.iter().map(|round| {
            let index = round.latencies.len() * percent / 100;
            round.latencies.get(index).copied().unwrap_or_default()
        }))
    };
    Summary {
        per_second: median(rounds.iter().map(|round| round.per_second)),
        p50: part(50),
        p99: part(99),
    }
}

/// A client and what to ask it, by a function without a name.
pub(crate) struct Asking<C, F> {
    client: C,
    ask: Arc<F>,
}

impl<C: Clone, F> Clone for Asking<C, F> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            ask: Arc::clone(&self.ask),
        }
    }
}

/// Asks `client` so.
pub(crate) fn asking<C, F, R>(client: C, ask: F) -> Runner
where
    C: Clone + Send + Sync + 'static,
    F: Fn(C, u64) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    runner(Asking {
        client,
        ask: Arc::new(ask),
    })
}

impl<C, F, R> Caller for Asking<C, F>
where
    C: Clone + Send + Sync + 'static,
    F: Fn(C, u64) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send,
{
    async fn call(&self, number: u64) {
        (self.ask)(self.client.clone(), number).await;
    }
}
