//! What the scenarios of loading have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use infra_core::cache::LoadOptions;
use infra_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Load, Loads, MakesLoaders};
use crate::conformance::{Failure, Harness, Outcome, Premise, TimeControl, limits};

/// What everything that should not hang is given.
pub(super) const BOUND: Duration = Duration::from_secs(60);

/// How long a value of these scenarios is fresh.
pub(super) fn lifetime(harness: &Harness<dyn MakesLoaders>, process: &dyn MakesLoaders) -> Duration {
    let limits = limits(process);
    match harness.time() {
        TimeControl::Virtual => Duration::from_secs(1000),
        // Shorter ones are over before a busy machine has looked.
        TimeControl::Real => Duration::from_secs(3),
    }
    .clamp(limits.min_ttl.saturating_mul(4), limits.max_ttl / 4)
}

/// Enough time on top of `lifetime` for a value to be gone.
pub(super) fn over(process: &dyn MakesLoaders, lifetime: Duration) -> Duration {
    lifetime + lifetime / 20 + limits(process).ttl_granularity
}

/// Options without chance, under which no loader of these scenarios is given up.
pub(super) fn options(lifetime: Duration) -> LoadOptions {
    LoadOptions::new(lifetime)
        .with_jitter(0.0)
        .with_load_timeout(BOUND * 10)
}

/// A loader of this process over its own cache.
pub(super) fn loader(process: &dyn MakesLoaders, options: LoadOptions) -> Result<Arc<dyn Loads>, Failure> {
    let made = process.loader(Arc::clone(process.cache()), options, false);
    made.premise("these options go with the cache")
}

/// A fresh process with its loader, whose values live for a [`lifetime`] unless `adapt` says otherwise.
pub(super) async fn process(
    harness: &Harness<dyn MakesLoaders>,
    adapt: impl FnOnce(LoadOptions, Duration) -> LoadOptions,
) -> Result<(Arc<dyn MakesLoaders>, Arc<dyn Loads>, Duration), Failure> {
    let process = harness.client().await?;
    let lifetime = lifetime(harness, &*process);
    let loader = loader(&*process, adapt(options(lifetime), lifetime))?;
    Ok((process, loader, lifetime))
}

/// How the loader of these scenarios fails.
pub(super) fn failure() -> Error {
    Error::new(ErrorKind::PermissionDenied, "the source failed as told")
}

/// Where values come from: counts how often it is asked, and answers with the number of the call unless told otherwise.
#[derive(Debug, Clone, Default)]
pub(super) struct Source(Arc<AtomicU64>);

impl Source {
    /// How often it was asked.
    pub(super) fn calls(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn number(&self) -> Load<u64> {
        self.then(|call| Ok(Some(call)))
    }

    pub(super) fn none(&self) -> Load<u64> {
        self.then(|_| Ok(None))
    }

    pub(super) fn fail(&self) -> Load<u64> {
        self.then(|_| Err(failure()))
    }

    pub(super) fn then<T: Send + 'static>(
        &self,
        answer: impl FnOnce(u64) -> Result<Option<T>> + Send + 'static,
    ) -> Load<T> {
        let calls = Arc::clone(&self.0);
        Box::new(move || Box::pin(async move { answer(calls.fetch_add(1, Ordering::SeqCst) + 1) }))
    }

    /// Answers when the gate lets it pass.
    pub(super) fn behind<T: Send + 'static>(
        &self,
        gate: &Gate,
        answer: impl FnOnce(u64) -> Result<Option<T>> + Send + 'static,
    ) -> Load<T> {
        let (calls, gate) = (Arc::clone(&self.0), gate.clone());
        Box::new(move || {
            Box::pin(async move {
                let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
                gate.pass().await;
                answer(call)
            })
        })
    }

    /// Until it was asked so often.
    pub(super) async fn asked(&self, harness: &Harness<dyn MakesLoaders>, times: u64) -> Outcome {
        let asked = harness.eventually(BOUND, "asking the source", async || self.calls() >= times);
        asked.await.premise("what is not cached is loaded")
    }
}

/// Holds loads back until it is opened.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(super) fn open(&self) {
        self.0.add_permits(1_000);
    }

    async fn pass(&self) {
        // It is never closed, so there is always a permit in the end.
        drop(self.0.acquire().await);
    }
}

/// Asks for a number in a task of its own.
pub(super) fn ask(loader: &Arc<dyn Loads>, key: &str, load: Load<u64>) -> JoinHandle<Result<Option<u64>>> {
    let (loader, key) = (Arc::clone(loader), key.to_owned());
    tokio::spawn(async move { loader.number(&key, load).await })
}

/// Lets tasks that were just begun come to where they wait.
pub(super) async fn settle(harness: &Harness<dyn MakesLoaders>) {
    let moment = match harness.time() {
        // Behind a stack that repeats calls this is also long enough for the repetitions.
        TimeControl::Virtual => Duration::from_secs(5),
        TimeControl::Real => Duration::from_millis(200),
    };
    harness.pass(moment).await;
}

/// Loads the first value of a key, which is 1.
pub(super) async fn filled(loader: &dyn Loads, key: &str, source: &Source) -> Outcome {
    let first = loader.number(key, source.number()).await;
    let first = first.premise("what is not cached is loaded")?;
    (first == Some(1)).premise("what was loaded is given")
}
