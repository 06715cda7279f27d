//! A trait, an implementation that does as it is told, and an interceptor that writes down what it is told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infra_core::intercept::{Call, Enter, Exit, Interceptor, Outcome, Scope, Stack, State};
use infra_core::{Error, ErrorKind, Result, async_trait, intercept};

#[intercept(component = "things")]
#[async_trait]
pub(crate) trait Things: Send + Sync {
    #[call(idempotent)]
    async fn read(&self, key: &str) -> Result<usize>;
    async fn write(&self, key: &str, value: Value) -> Result<usize>;
    #[call(once)]
    async fn hand_over(&self, value: Value) -> Result<usize>;
    #[call(idempotent, waits)]
    async fn wait(&self, key: &str) -> Result<usize>;
}

/// An argument that counts how often it is cloned.
#[derive(Debug, Default)]
pub(crate) struct Value(pub(crate) Arc<AtomicUsize>);

impl Clone for Value {
    fn clone(&self) -> Self {
        self.0.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

/// What an implementation does with one call; after the last step it answers `Ok`.
#[derive(Debug)]
pub(crate) enum Step {
    Ok,
    Err(Error),
    /// Is pending so many times.
    Yield(usize),
    Sleep(Duration),
    Panic,
    Hang,
}

/// Does as it is told, and answers with the number of the call.
#[derive(Debug, Default)]
pub(crate) struct Puppet {
    steps: Mutex<VecDeque<Step>>,
    calls: AtomicUsize,
    alive: Arc<AtomicUsize>,
}

impl Puppet {
    pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        Arc::new(Self {
            steps: Mutex::new(steps.into_iter().collect()),
            ..Self::default()
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// How many calls have begun and were neither finished nor dropped.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    async fn act(&self) -> Result<usize> {
        struct Alive(Arc<AtomicUsize>);
        impl Drop for Alive {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        self.alive.fetch_add(1, Ordering::Relaxed);
        let _alive = Alive(Arc::clone(&self.alive));
        let step = self.steps.lock().unwrap().pop_front().unwrap_or(Step::Ok);
        match step {
            Step::Ok => {}
            Step::Err(error) => return Err(error),
            Step::Yield(times) => yield_now(times).await,
            Step::Sleep(time) => tokio::time::sleep(time).await,
            Step::Panic => panic!("as told"),
            Step::Hang => std::future::pending().await,
        }
        Ok(number)
    }
}

/// Is pending so many times, without a runtime.
pub(crate) async fn yield_now(times: usize) {
    let mut left = times;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[async_trait]
impl Things for Puppet {
    async fn read(&self, _: &str) -> Result<usize> {
        self.act().await
    }
    async fn write(&self, _: &str, _: Value) -> Result<usize> {
        self.act().await
    }
    async fn hand_over(&self, _: Value) -> Result<usize> {
        self.act().await
    }
    async fn wait(&self, _: &str) -> Result<usize> {
        self.act().await
    }
}

pub(crate) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "told to fail")
}

/// What was told to probes, in order: `"> name attempt"` on the way in (`~` if it waits), `"< name
/// outcome"` on the way out.
pub(crate) type Journal = Arc<Mutex<Vec<String>>>;

pub(crate) fn entries(journal: &Journal) -> Vec<String> {
    std::mem::take(&mut *journal.lock().unwrap())
}

/// Writes down what it is told, and answers as it is told.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    name: &'static str,
    journal: Journal,
    enters: Mutex<VecDeque<Answer>>,
    exits: Mutex<VecDeque<Exit>>,
    bound: Option<Duration>,
    observes_only: bool,
}

#[derive(Debug)]
pub(crate) enum Answer {
    Proceed,
    Refuse(Error),
    /// Is pending so many times, then admits or refuses.
    Wait(usize, Result<u64>),
    /// Never ends.
    WaitForever,
}

impl Probe {
    pub(crate) fn new(name: &'static str, journal: &Journal) -> Self {
        Self {
            name,
            journal: Arc::clone(journal),
            ..Self::default()
        }
    }
    pub(crate) fn entering(mut self, answers: impl IntoIterator<Item = Answer>) -> Self {
        self.enters = Mutex::new(answers.into_iter().collect());
        self
    }
    pub(crate) fn exiting(mut self, answers: impl IntoIterator<Item = Exit>) -> Self {
        self.exits = Mutex::new(answers.into_iter().collect());
        self
    }
    pub(crate) fn bounding(mut self, bound: Duration) -> Self {
        self.bound = Some(bound);
        self
    }
    pub(crate) fn observing_only(mut self) -> Self {
        self.observes_only = true;
        self
    }
    fn note(&self, entry: String) {
        self.journal.lock().unwrap().push(entry);
    }
}

impl Interceptor for Probe {
    fn name(&self) -> &'static str {
        self.name
    }

    fn repeats(&self) -> bool {
        !self.observes_only
    }

    fn enter(&self, call: &Call<'_>, scope: &mut Scope) -> Enter {
        let answer = self.enters.lock().unwrap().pop_front().unwrap_or(Answer::Proceed);
        let waits = matches!(answer, Answer::Wait(..) | Answer::WaitForever);
        self.note(format!(
            "{} {} {}",
            if waits { '~' } else { '>' },
            self.name,
            call.attempt()
        ));
        if let Some(bound) = self.bound {
            scope.bound(bound);
        }
        scope.state().number = 1;
        match answer {
            Answer::Proceed => Enter::Proceed,
            Answer::Refuse(error) => Enter::Refuse(error),
            Answer::WaitForever => Enter::Wait(Box::pin(std::future::pending())),
            Answer::Wait(times, answer) => Enter::Wait(Box::pin(async move {
                yield_now(times).await;
                answer.map(State::number)
            })),
        }
    }

    fn exit(&self, _: &Call<'_>, scope: &mut Scope, outcome: &Outcome<'_>) -> Exit {
        assert!(scope.state().number > 0, "the state of `enter` reaches `exit`");
        self.note(format!("< {} {}", self.name, outcome.label()));
        self.exits.lock().unwrap().pop_front().unwrap_or(Exit::Done)
    }
}

/// Three probes, `a` outermost.
pub(crate) fn three(journal: &Journal) -> Stack {
    Stack::new()
        .with(Probe::new("a", journal))
        .with(Probe::new("b", journal))
        .with(Probe::new("c", journal))
}
