//! Reading a range at one revision, and watching it from there: across reconnection, compaction and a server that starts anew.

use std::time::Duration;

use etcd_client::{EventType, GetOptions, KeyValue, ResponseHeader, WatchOptions, WatchStream};
use infra_core::error::{Error, ErrorKind, Result};
use infra_core::watch::{self, Watch, WatchEvent, WatchSink};

use crate::client::Client;
use crate::error;

/// The pause before the first attempt to watch again; it doubles with each failure.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A key, or all keys that begin with a text.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    key: String,
    prefix: bool,
}

impl Range {
    pub(crate) fn key(key: String) -> Self {
        Self { key, prefix: false }
    }

    pub(crate) fn prefix(key: String) -> Self {
        Self { key, prefix: true }
    }

    fn reading(&self) -> GetOptions {
        if self.prefix {
            GetOptions::new().with_prefix()
        } else {
            GetOptions::new()
        }
    }

    fn watching(&self) -> WatchOptions {
        let options = WatchOptions::new().with_progress_notify();
        if self.prefix {
            options.with_prefix()
        } else {
            options
        }
    }
}

/// The revision of an answer.
pub(crate) fn revision(header: Option<&ResponseHeader>) -> u64 {
    header.map_or(0, |header| u64::try_from(header.revision()).unwrap_or(0))
}

/// What a range holds, ordered by key, at which revision.
pub(crate) async fn read(client: &Client, range: &Range) -> Result<(Vec<KeyValue>, u64)> {
    let mut answer = client.get(&range.key, range.reading()).await?;
    let revision = revision(answer.header());
    Ok((answer.take_kvs(), revision))
}

/// Watches a range from just after `revision`; `put` and `gone` say what an event means, or that it means nothing.
pub(crate) async fn open<T, P, G>(
    client: &Client,
    range: Range,
    revision: u64,
    put: P,
    gone: G,
) -> Result<Watch<T>>
where
    T: Send + 'static,
    P: Fn(&KeyValue) -> Option<T> + Send + Sync + 'static,
    G: Fn(&KeyValue) -> Option<String> + Send + Sync + 'static,
{
    let (sink, watch) = watch::channel(client.config().watch_buffer);
    let mut follower = Follower {
        client: client.clone(),
        range,
        seen: revision,
        sink,
        put,
        gone,
    };
    let stream = follower.begin().await?;
    tokio::spawn(async move { follower.follow(stream).await });
    Ok(watch)
}

/// Follows one range for one reader.
struct Follower<T, P, G> {
    client: Client,
    range: Range,
    /// Everything up to this revision was told.
    seen: u64,
    sink: WatchSink<T>,
    put: P,
    gone: G,
}

/// Why a stream is not read any more.
enum End {
    /// Nobody reads the watch, or it was closed.
    Over,
    /// The stream broke; another one goes on from where it was.
    Broken,
    /// The history from there on is gone; the present is at this revision or later.
    Compacted,
}

impl<T, P, G> Follower<T, P, G>
where
    T: Send + 'static,
    P: Fn(&KeyValue) -> Option<T> + Send + Sync + 'static,
    G: Fn(&KeyValue) -> Option<String> + Send + Sync + 'static,
{
    /// Opens the stream; begins with a reset if the history from the revision on is gone, or was never there.
    async fn begin(&mut self) -> Result<Box<WatchStream>> {
        loop {
            match self.subscribe().await? {
                Subscribed::From(stream) => return Ok(stream),
                Subscribed::HistoryIsGone => self.reset().await?,
            }
        }
    }

    async fn subscribe(&self) -> Result<Subscribed> {
        let from = i64::try_from(self.seen.saturating_add(1)).unwrap_or(i64::MAX);
        let options = self.range.watching().with_start_revision(from);
        let mut stream = self.client.watch(self.range.key.as_str(), options).await?;
        let first = self.client.bounded(stream.message()).await?;
        let Some(first) = first else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "etcd ended the stream of a watch at once",
            ));
        };
        if first.compact_revision() > 0 || revision(first.header()) < self.seen {
            return Ok(Subscribed::HistoryIsGone);
        }
        if first.canceled() {
            let reason = first.cancel_reason().to_owned();
            return Err(Error::new(
                ErrorKind::PermissionDenied,
                format!("etcd refused the watch: {reason}"),
            ));
        }
        Ok(Subscribed::From(Box::new(stream)))
    }

    /// Tells the reader to read again, and goes on from the present.
    async fn reset(&mut self) -> Result<()> {
        let (_, present) = read(&self.client, &Range::key(self.range.key.clone())).await?;
        self.seen = present;
        self.sink.push(WatchEvent::Reset);
        Ok(())
    }

    async fn follow(mut self, mut stream: Box<WatchStream>) {
        let closed = self.client.closed().clone();
        let mut pause = FIRST_PAUSE;
        loop {
            let end = tokio::select! {
                () = closed.cancelled() => return self.sink.close(Error::closed("the client of etcd")),
                () = self.sink.abandoned() => return,
                end = Self::tell(&mut stream, &mut self.seen, &self.sink, &self.put, &self.gone) => end,
            };
            let mut history_is_gone = match end {
                End::Over => return,
                End::Broken => false,
                End::Compacted => true,
            };
            stream = loop {
                tokio::select! {
                    () = closed.cancelled() => return self.sink.close(Error::closed("the client of etcd")),
                    () = self.sink.abandoned() => return,
                    () = tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
                }
                let begun = async {
                    if history_is_gone {
                        self.reset().await?;
                        history_is_gone = false;
                    }
                    self.begin().await
                };
                match begun.await {
                    Ok(stream) => {
                        pause = FIRST_PAUSE;
                        break stream;
                    }
                    Err(error) if may_pass(&error) => {
                        tracing::warn!(%error, range = self.range.key, "a watch is interrupted; trying again");
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                    Err(error) => return self.sink.close(error.at("watch", crate::BACKEND, "watch")),
                }
            };
        }
    }

    /// Tells the reader what comes, until the stream ends.
    async fn tell(stream: &mut WatchStream, seen: &mut u64, sink: &WatchSink<T>, put: &P, gone: &G) -> End {
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return End::Broken,
                Err(broken) => {
                    tracing::debug!(error = %error::of(broken), "the stream of a watch broke");
                    return End::Broken;
                }
            };
            if message.compact_revision() > 0 {
                return End::Compacted;
            }
            for event in message.events() {
                let Some(kv) = event.kv() else { continue };
                let told = match event.event_type() {
                    EventType::Put => put(kv).map(WatchEvent::Put),
                    EventType::Delete => gone(kv).map(WatchEvent::Delete),
                };
                if told.is_some_and(|event| !sink.push(event)) {
                    return End::Over;
                }
                *seen = (*seen).max(u64::try_from(kv.mod_revision()).unwrap_or(0));
            }
            if message.canceled() {
                return End::Broken;
            }
            if message.events().is_empty() {
                // A notice of progress: there was nothing for us up to here.
                *seen = (*seen).max(revision(message.header()));
            }
        }
    }
}

enum Subscribed {
    From(Box<WatchStream>),
    HistoryIsGone,
}

fn may_pass(error: &Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
}
