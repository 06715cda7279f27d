//! The driver: many senders at once, each session in its order, then the verification.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::once::OnceOutcome;
use infra_core::search::Search;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Corpus, CorpusLine, Latencies, Report};
use crate::indexer::DeliveryLog;
use crate::model::{INDEX, Sent};
use crate::service::MessageService;
use crate::store::MessageStore;

/// How a replay is run.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ReplayOptions {
    /// How many messages are on their way at the same time. Default: 64.
    pub senders: usize,
    /// How often a request that may succeed later is repeated. Default: 20.
    pub repeats: u32,
    /// How long the consumer may make no progress before the replay gives up on it. Default: 30 s.
    pub patience: Duration,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            senders: 64,
            repeats: 20,
            patience: Duration::from_secs(30),
        }
    }
}

/// A replay against a running service.
#[derive(Debug)]
pub struct Replay {
    /// The service.
    pub service: Arc<MessageService>,
    /// Its database, to verify.
    pub store: MessageStore,
    /// Its index, to verify.
    pub search: Arc<dyn Search>,
    /// What its consumer has taken in.
    pub deliveries: Arc<DeliveryLog>,
    /// How to go about it.
    pub options: ReplayOptions,
}

/// What one sender did.
#[derive(Default)]
struct Sender {
    /// Distinct messages by id: whether it was new.
    ids: HashMap<i64, bool>,
    sent: u64,
    duplicates: u64,
    failed: Vec<(u64, String)>,
    latencies: Latencies,
}

impl Replay {
    /// Sends every message of the file and verifies what became of them. `progress` is told the bytes read so far.
    ///
    /// # Errors
    /// When the file cannot be read or the verification cannot be made; whatever happens to messages is in the report.
    ///
    /// # Cancellation
    /// What was sent stays sent; replay again.
    pub async fn run(&self, path: &Path, progress: impl Fn(u64)) -> Result<Report> {
        let mut corpus = Corpus::open(path)?;
        // What an earlier process left undone is not this run's work.
        self.service.announce_unsettled().await?;
        self.until_settled().await?;
        self.search.refresh(INDEX).await?;
        let (stored_before, _) = self.store.counts().await?;
        let indexed_before = self.search.count(INDEX).await?;
        let delivered_before = self.deliveries.ids();

        let began = Instant::now();
        let mut report = Report::default();
        let mut sender = self.send_all(&mut corpus, &mut report, progress).await?;
        self.until_settled().await?;
        report.elapsed = began.elapsed();

        self.search.refresh(INDEX).await?;
        let (stored, _) = self.store.counts().await?;
        report.stored = stored.saturating_sub(stored_before);
        report.indexed = self.search.count(INDEX).await?.saturating_sub(indexed_before);
        report.delivered = self.deliveries.ids().difference(&delivered_before).count() as u64;
        report.sent = sender.sent;
        report.duplicates = sender.duplicates;
        report.p50 = sender.latencies.quantile(0.5);
        report.p99 = sender.latencies.quantile(0.99);
        report.failed = std::mem::take(&mut sender.failed);
        report.failed.sort();
        self.verify(&sender, &mut report).await?;
        Ok(report)
    }

    /// Reads the file and hands each session's lines, in order, to one of the senders.
    async fn send_all(
        &self,
        corpus: &mut Corpus,
        report: &mut Report,
        progress: impl Fn(u64),
    ) -> Result<Sender> {
        let mut senders = JoinSet::new();
        let mut lanes = Vec::new();
        for _ in 0..self.options.senders.max(1) {
            let (lane, lines) = mpsc::channel(8);
            lanes.push(lane);
            senders.spawn(send_lane(Arc::clone(&self.service), lines, self.options.repeats));
        }
        let (hasher, mut bytes) = (RandomState::new(), 0);
        while let Some((read, line)) = corpus.next_line()? {
            bytes += read;
            progress(bytes);
            match line {
                Ok(line) => {
                    report.messages += 1;
                    let lane =
                        usize::try_from(hasher.hash_one(&line.session_id) % lanes.len() as u64).unwrap_or(0);
                    if let Some(lane) = lanes.get(lane)
                        && lane.send((corpus.line(), line)).await.is_err()
                    {
                        return Err(Error::new(
                            ErrorKind::Internal,
                            "a sender ended before the file did",
                        ));
                    }
                }
                Err(broken) => {
                    tracing::warn!(
                        line = broken.line,
                        problem = broken.problem,
                        "a line of the corpus was skipped"
                    );
                    report.broken.push(broken);
                }
            }
        }
        drop(lanes);
        let mut all = Sender::default();
        while let Some(sender) = senders.join_next().await {
            let sender = sender
                .map_err(|source| Error::new(ErrorKind::Internal, "a sender failed").with_source(source))?;
            // A message that was new for one request is new, whatever later requests heard.
            for (id, new) in sender.ids {
                *all.ids.entry(id).or_default() |= new;
            }
            all.sent += sender.sent;
            all.duplicates += sender.duplicates;
            all.failed.extend(sender.failed);
            all.latencies.extend(sender.latencies);
        }
        Ok(all)
    }

    /// Waits until everything stored was taken in, for as long as there is progress.
    async fn until_settled(&self) -> Result<()> {
        let (mut fewest, mut since) = (u64::MAX, Instant::now());
        loop {
            let (_, unsettled) = self.store.counts().await?;
            if unsettled == 0 {
                return Ok(());
            }
            if unsettled < fewest {
                (fewest, since) = (unsettled, Instant::now());
            } else if since.elapsed() > self.options.patience {
                tracing::error!(unsettled, "the consumer makes no progress");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Looks up every message of the file in the database and in the index.
    async fn verify(&self, sender: &Sender, report: &mut Report) -> Result<()> {
        let mut rows = HashMap::<i64, u32>::new();
        for id in self.store.stored_ids().await? {
            *rows.entry(id).or_default() += 1;
        }
        let ids: HashSet<i64> = sender.ids.keys().copied().collect();
        report.distinct = ids.len() as u64;
        report.in_database = ids.iter().filter(|id| rows.get(id) == Some(&1)).count() as u64;
        let found = stream::iter(ids).map(|id| async move { self.search.get(INDEX, &id.to_string()).await });
        let mut found = found.buffer_unordered(self.options.senders.max(1));
        while let Some(document) = found.next().await {
            report.in_index += u64::from(document?.is_some());
        }
        Ok(())
    }
}

async fn send_lane(
    service: Arc<MessageService>,
    mut lines: mpsc::Receiver<(u64, CorpusLine)>,
    repeats: u32,
) -> Sender {
    let mut sender = Sender::default();
    while let Some((number, line)) = lines.recv().await {
        let began = Instant::now();
        match send_patiently(&service, line, repeats).await {
            Ok(outcome) => {
                let new = !outcome.is_replay();
                sender.sent += u64::from(new);
                sender.duplicates += u64::from(!new);
                *sender.ids.entry(outcome.into_inner().id).or_default() |= new;
            }
            Err(error) => sender.failed.push((number, error.to_string())),
        }
        sender.latencies.add(began.elapsed());
    }
    sender
}

/// Sends, and sends again what may succeed later, as a well-behaved client does: after the time it was told.
async fn send_patiently(
    service: &MessageService,
    line: CorpusLine,
    repeats: u32,
) -> Result<OnceOutcome<Sent>> {
    let (message, key) = line.into_request();
    let mut pause = Duration::from_millis(5);
    for _ in 0..repeats {
        match service.send(message.clone(), &key).await {
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(error.retry_after().unwrap_or(pause)).await;
                pause = (pause * 2).min(Duration::from_secs(1));
            }
            answered => return answered,
        }
    }
    service.send(message, &key).await
}
