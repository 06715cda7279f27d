//! Concurrent clients that call at random, and the check of what they saw.

mod cache;
mod center;
mod leases;

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use infra_core::cache::KeyValue;
use infra_core::coordination::{ConfigCenter, InstanceIds, Locks};
use infra_core::{Error, Result};
use tokio::sync::Barrier;

use super::checker::{Model, check};
use super::history::{Call, Recorder};
use super::lock::LockModel;
use super::number::NumberModel;
use super::register::RegisterModel;
use super::versioned::VersionedModel;
use crate::conformance::{Failure, Outcome};

/// How much is called, and how much time all of it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkloadOptions {
    /// What each worker calls is made from this; when its calls meet those of others is not.
    pub seed: u64,
    /// How many workers call at the same time; they share the clients. Default: 8.
    pub workers: usize,
    /// How many keys, locks or services they call on. Default: 16.
    pub keys: usize,
    /// How many calls all of them make together. Default: 2000.
    pub calls: usize,
    /// The time to live of locks. Default: 30 s.
    pub ttl: Duration,
    /// How long a lock is waited for. Default: 1 s.
    pub wait: Duration,
    /// The most time for the calls, and again for the search. Default: 20 s.
    pub within: Duration,
}

impl WorkloadOptions {
    /// The defaults, from this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            workers: 8,
            keys: 16,
            calls: 2_000,
            ttl: Duration::from_secs(30),
            wait: Duration::from_secs(1),
            within: Duration::from_secs(20),
        }
    }

    /// The same with so many calls.
    #[must_use]
    pub const fn with_calls(mut self, calls: usize) -> Self {
        self.calls = calls;
        self
    }

    /// The same with so many keys: fewer meet more often, and take longer to check.
    #[must_use]
    pub const fn with_keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// The same with so many workers.
    #[must_use]
    pub const fn with_workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }
}

/// How many numbers each service of [`instance_ids()`] has.
const NUMBERS: u16 = 64;

/// How many numbers a worker holds at a time: what is given back at once is rarely held by two.
const HELD: usize = 16;

/// Reads, writes, compares, swaps and adds on the keys of a cache, and checks that it is linearizable.
///
/// # Errors
/// The violation; clients that answered fewer than half of the calls; a search that took too long.
pub async fn key_value(clients: &[Arc<dyn KeyValue>], namespace: &str, options: WorkloadOptions) -> Outcome {
    drive(
        clients,
        namespace,
        options,
        RegisterModel,
        |mut worker| async move {
            let mut known = None;
            while worker.goes_on().await {
                known = worker.cache_call(known).await;
            }
        },
    )
    .await
}

/// Reads, writes, compares and deletes on the keys of a configuration centre, and checks that it is linearizable and that versions grow.
///
/// # Errors
/// As [`key_value()`].
pub async fn config_center(
    clients: &[Arc<dyn ConfigCenter>],
    namespace: &str,
    options: WorkloadOptions,
) -> Outcome {
    drive(
        clients,
        namespace,
        options,
        VersionedModel,
        |mut worker| async move {
            let mut known = 0;
            while worker.goes_on().await {
                known = worker.center_call(known).await;
            }
        },
    )
    .await
}

/// Acquires, holds and releases locks, and checks that each has one holder at a time and that fencing tokens grow.
///
/// # Errors
/// As [`key_value()`].
pub async fn locks(clients: &[Arc<dyn Locks>], namespace: &str, options: WorkloadOptions) -> Outcome {
    drive(clients, namespace, options, LockModel, |mut worker| async move {
        while worker.goes_on().await {
            worker.lock_call().await;
        }
    })
    .await
}

/// Leases and releases instance ids, and checks that each has one holder at a time.
///
/// # Errors
/// As [`key_value()`].
pub async fn instance_ids(
    clients: &[Arc<dyn InstanceIds>],
    namespace: &str,
    options: WorkloadOptions,
) -> Outcome {
    let model = NumberModel::new(usize::from(NUMBERS));
    drive(clients, namespace, options, model, |mut worker| async move {
        let mut held = VecDeque::new();
        while worker.goes_on().await {
            held.extend(worker.lease_number().await);
            if held.len() > HELD
                && let Some(oldest) = held.pop_front()
            {
                worker.release_number(oldest).await;
            }
        }
        for left in held {
            worker.release_number(left).await;
        }
    })
    .await
}

/// One of those that call at the same time.
struct Worker<C: ?Sized, O, A> {
    number: usize,
    client: Arc<C>,
    recorder: Recorder<O, A>,
    random: fastrand::Rng,
    namespace: String,
    options: WorkloadOptions,
    made: usize,
}

async fn drive<C, M, F, R>(
    clients: &[Arc<C>],
    namespace: &str,
    options: WorkloadOptions,
    model: M,
    work: F,
) -> Outcome
where
    C: ?Sized + Send + Sync + 'static,
    M: Model,
    M::Operation: Send + 'static,
    M::Answer: Send + 'static,
    F: Fn(Worker<C, M::Operation, M::Answer>) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let recorder = Recorder::new();
    let start = Arc::new(Barrier::new(options.workers));
    let mut tasks = tokio::task::JoinSet::new();
    for (number, client) in clients.iter().cycle().take(options.workers).enumerate() {
        let worker = work(Worker {
            number,
            client: Arc::clone(client),
            recorder: recorder.clone(),
            random: fastrand::Rng::with_seed(options.seed.wrapping_add(number as u64)),
            namespace: namespace.to_owned(),
            options,
            made: 0,
        });
        let start = Arc::clone(&start);
        tasks.spawn(async move {
            start.wait().await;
            worker.await;
        });
    }
    let all = async {
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok::<(), Failure>(())
    };
    let Ok(ended) = tokio::time::timeout(options.within, all).await else {
        return Err(Failure::broken(format!(
            "the calls did not end within {:?}",
            options.within
        )));
    };
    ended?;
    let history = recorder.history();
    let answered = history
        .entries
        .iter()
        .filter(|entry| entry.answer.is_some())
        .count();
    if answered * 2 < options.calls {
        return Err(Failure::broken(format!(
            "only {answered} of {} calls were answered: that proves nothing",
            options.calls
        )));
    }
    check(&model, &history, options.within)
        .into_outcome()
        .map_err(|failure| Failure::broken(format!("{} (seed {})", failure.message(), options.seed)))
}

/// Records how a call ended, whatever it answered.
fn conclude<O, A, T>(call: Call<O, A>, result: Result<T>, answer: impl FnOnce(T) -> A) {
    match result {
        Ok(value) => call.answered(answer(value)),
        Err(error) => fail(call, &error),
    }
}

fn fail<O, A>(call: Call<O, A>, error: &Error) {
    if error.had_no_effect() {
        call.without_effect();
    } else {
        call.unknown();
    }
}

impl<C: ?Sized, O, A> Worker<C, O, A> {
    /// Whether another call is due. Lets others in between now and then: a task that never waits would be alone until its end.
    async fn goes_on(&mut self) -> bool {
        if self.random.bool() {
            tokio::task::yield_now().await;
        }
        self.made += 1;
        self.made <= self.options.calls.div_ceil(self.options.workers.max(1))
    }

    fn key(&mut self) -> String {
        format!(
            "{}-{}",
            self.namespace,
            self.random.usize(..self.options.keys.max(1))
        )
    }

    /// A number that no other call of the workload has.
    fn fresh(&self) -> u64 {
        (self.number as u64 + 1) * 1_000_000 + self.made as u64
    }

    /// Lets others in between, for as long as work under a lock may take.
    async fn linger(&mut self) {
        for _ in 0..self.random.u8(..4) {
            tokio::task::yield_now().await;
        }
    }
}
