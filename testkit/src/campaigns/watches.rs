//! A reader that keeps a copy of the configuration by a watch, while somebody writes and faults happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use infra_core::coordination::{
    ConfigCenter, ConfigCenterExt, ConfigEntry, ConfigWrite, Version, WatchScope,
};
use infra_core::watch::{Watch, WatchEvent};
use tokio::time::{Instant, sleep};

use super::progress::Progress;
use super::{Fault, Verdict, Violation};

/// How long a reader may be behind when nothing is disturbed any more.
const SLACK: Duration = Duration::from_secs(30);

/// How long to wait before something that failed is done again.
const PAUSE: Duration = Duration::from_millis(20);

/// So many keys are written at a time; after as many writes the first of them is never written again, so that what was lost stays lost.
const KEYS: usize = 5;

/// What was seen in a campaign in which nothing was violated.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Report {
    /// How many writes succeeded.
    pub writes: usize,
    /// How many writes failed.
    pub failed: usize,
    /// How many faults were played.
    pub faults: usize,
    /// How many events the readers were told.
    pub events: usize,
    /// How often readers were told that they had missed something.
    pub resets: usize,
}

/// Writes below the prefix until there were enough writes and each fault was played, while each reader keeps a copy.
///
/// A reader does as the contract says: it takes a snapshot, applies what the watch tells from there, and takes a new snapshot only when it
/// is told that it missed something.
///
/// # Errors
/// The [`Violation`]: a copy differs from the server's state although nothing is disturbed any more, a watch goes back in time or ends.
pub async fn follow(
    writer: &Arc<dyn ConfigCenter>,
    readers: &[Arc<dyn ConfigCenter>],
    prefix: &str,
    faults: &[Fault],
    (rounds, pause): (usize, Duration),
) -> Verdict<Report> {
    let progress = Arc::new(Progress::new(rounds));
    let copies: Vec<_> = readers.iter().map(|_| Arc::<Mutex<Copy>>::default()).collect();
    let mut tasks = Tasks::default();
    for (reader, copy) in readers.iter().zip(&copies) {
        let (reader, copy, progress) = (Arc::clone(reader), Arc::clone(copy), Arc::clone(&progress));
        let prefix = prefix.to_owned();
        tasks.spawn(async move { read(&*reader, &prefix, &copy, &progress).await });
    }
    let failed = Arc::new(Mutex::new(0));
    let writing = write(writer, prefix, &progress, &failed);
    let ((), inflicted) = tokio::join!(writing, progress.disturb(faults, pause, SLACK * 2));
    progress.verdict()?;
    for (number, copy) in copies.iter().enumerate() {
        agrees(&**writer, prefix, copy, number).await?;
    }
    progress.verdict()?;
    let mut report = Report {
        writes: progress.done(),
        failed: *lock(&failed),
        faults: inflicted,
        ..Report::default()
    };
    for copy in &copies {
        let copy = lock(copy);
        report.events += copy.events;
        report.resets += copy.resets;
    }
    Ok(report)
}

/// Tasks that end with the campaign.
#[derive(Default)]
struct Tasks(Vec<tokio::task::JoinHandle<()>>);

impl Tasks {
    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(work));
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// What a reader knows.
#[derive(Default)]
struct Copy {
    entries: BTreeMap<String, ConfigEntry>,
    events: usize,
    resets: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(center: &Arc<dyn ConfigCenter>, prefix: &str, progress: &Progress, failed: &Mutex<usize>) {
    while !progress.is_over() {
        let key = format!("{prefix}{}", progress.done() / KEYS + fastrand::usize(..KEYS));
        let change = if fastrand::u8(..4) == 0 {
            ConfigWrite::delete(key)
        } else {
            ConfigWrite::set(key, fastrand::u64(..).to_string())
        };
        match center.write(vec![change]).await {
            Ok(_) => progress.round(),
            Err(_) => *lock(failed) += 1,
        }
        sleep(PAUSE / 4).await;
    }
}

/// Keeps the copy for as long as it is not dropped.
async fn read(center: &dyn ConfigCenter, prefix: &str, copy: &Mutex<Copy>, progress: &Progress) {
    loop {
        let (entries, mut watch) = begin(center, prefix).await;
        lock(copy).entries = entries
            .into_iter()
            .map(|entry| (entry.key.clone(), entry))
            .collect();
        if let Err(violation) = apply(&mut watch, copy).await {
            return progress.violate(violation.to_string());
        }
        lock(copy).resets += 1;
    }
}

/// A snapshot and the watch from there, as soon as the server gives them.
async fn begin(center: &dyn ConfigCenter, prefix: &str) -> (Vec<ConfigEntry>, Watch<ConfigEntry>) {
    loop {
        match center.list_and_watch(prefix).await {
            Ok(both) => return both,
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Applies events until one says that something was missed.
async fn apply(watch: &mut Watch<ConfigEntry>, copy: &Mutex<Copy>) -> Verdict<()> {
    let mut newest = Version::ABSENT;
    while let Some(event) = watch.next().await {
        let mut copy = lock(copy);
        copy.events += 1;
        match event {
            WatchEvent::Put(entry) => {
                if entry.version <= newest {
                    return Err(Violation::new(format!(
                        "a watch told version {} after version {newest}",
                        entry.version
                    )));
                }
                newest = entry.version;
                copy.entries.insert(entry.key.clone(), entry);
            }
            WatchEvent::Delete(key) => {
                copy.entries.remove(&key);
            }
            WatchEvent::Lagged { .. } | WatchEvent::Reset => return Ok(()),
            WatchEvent::Closed(error) => {
                return Err(Violation::new(format!("a watch ended by a fault: {error}")));
            }
            other => return Err(Violation::new(format!("an unknown event: {other:?}"))),
        }
    }
    Err(Violation::new("a watch ended without saying why"))
}

/// The copy becomes the same as the server's state, soon.
async fn agrees(center: &dyn ConfigCenter, prefix: &str, copy: &Mutex<Copy>, number: usize) -> Verdict<()> {
    let began = Instant::now();
    let scope = WatchScope::Prefix(prefix.to_owned());
    loop {
        let problem = match center.read(&scope).await {
            Ok((entries, _)) => {
                let copy = lock(copy);
                let different = entries
                    .iter()
                    .find(|entry| copy.entries.get(&entry.key) != Some(*entry));
                match different {
                    None if entries.len() == copy.entries.len() => return Ok(()),
                    None => "it has keys that were deleted".to_owned(),
                    Some(entry) => format!("it has not version {} of {}", entry.version, entry.key),
                }
            }
            Err(error) => format!("the state cannot be read: {error}"),
        };
        if began.elapsed() > SLACK {
            return Err(Violation::new(format!(
                "reader {number} lost something in silence: {SLACK:?} after the last fault {problem}"
            )));
        }
        sleep(PAUSE).await;
    }
}
