//! What others publish: one connection of its own, on which any number of tasks wait for any number of channels.
//!
//! The connection is made with the first subscription, made again when it breaks, and given up when nobody has listened for a while.
//! Pub/sub forgets what was published while nobody was connected, so whoever listens is told of each gap. On a cluster any node
//! will do, since what is published on one is passed on to all.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use infra_core::{Error, ErrorKind, Result};
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::dial::Dialer;
use crate::{error, line};

/// How long the connection is kept when nobody listens.
const IDLE: Duration = Duration::from_secs(10);

/// The subscriptions of one client; they end with it.
#[derive(Debug)]
pub(crate) struct Notices {
    shared: Arc<Shared>,
    _ended: DropGuard,
}

struct Shared {
    dialer: Arc<Dialer>,
    state: Mutex<State>,
    /// That `state.changed` is to be looked at.
    look: Notify,
    ended: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("channels", &self.state().wanted.len())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    wanted: HashMap<Arc<str>, Channel>,
    /// Channels that somebody began or ceased to want.
    changed: HashSet<Arc<str>>,
    /// Whether a task is there that listens.
    is_served: bool,
}

/// A channel that somebody wants to hear.
struct Channel {
    subscribers: usize,
    notices: watch::Sender<()>,
    standing: watch::Sender<Standing>,
    /// Whether it was heard before: whoever hears it again has missed something.
    was_heard: bool,
}

#[derive(Debug, Clone)]
enum Standing {
    /// The server has not confirmed yet.
    Asked,
    /// What is published is heard.
    Heard,
    /// It could not be asked for; tried again for those who listened before.
    Refused(Error),
}

/// Hears one channel, until it is dropped.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    channel: Arc<str>,
    notices: watch::Receiver<()>,
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

impl Notices {
    /// Nothing is connected until somebody listens; `closed` ends it.
    pub(crate) fn new(dialer: Arc<Dialer>, closed: &CancellationToken) -> Self {
        let ended = closed.child_token();
        Self {
            shared: Arc::new(Shared {
                dialer,
                state: Mutex::default(),
                look: Notify::new(),
                ended: ended.clone(),
            }),
            _ended: ended.drop_guard(),
        }
    }

    /// Hears of whatever is published on this channel from now on: when this returns, the server has confirmed it.
    ///
    /// # Errors
    /// The server cannot be reached within [`request_timeout`](crate::RedisConfig::request_timeout), or does not allow it;
    /// [`Closed`](ErrorKind::Closed).
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<Subscription> {
        let (subscription, mut standing) = self.shared.want(channel);
        let timeout = self.shared.dialer.config().request_timeout;
        let answered = standing.wait_for(|standing| !matches!(standing, Standing::Asked));
        let standing = tokio::select! {
            biased;
            () = self.shared.ended.cancelled() => return Err(closed()),
            answered = tokio::time::timeout(timeout, answered) => match answered {
                Ok(Ok(standing)) => standing.clone(),
                Ok(Err(_)) | Err(_) => Standing::Refused(not_within(timeout)),
            },
        };
        match standing {
            Standing::Refused(error) => Err(error.context(format_args!("listening to channel {channel:?}"))),
            Standing::Asked | Standing::Heard => Ok(subscription),
        }
    }
}

impl Subscription {
    /// Completes when something was published since this was asked last, or may have been: also after each gap, as soon as notices
    /// are heard again. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`](infra_core::ErrorKind::Closed) when the client was shut down.
    pub(crate) async fn changed(&mut self) -> Result<()> {
        tokio::select! {
            biased;
            () = self.shared.ended.cancelled() => Err(closed()),
            changed = self.notices.changed() => changed.map_err(|_| closed()),
        }
    }

    /// Passes over whatever was published until now.
    pub(crate) fn skip(&mut self) {
        self.notices.mark_unchanged();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let Some(channel) = state.wanted.get_mut(&self.channel) else {
            return;
        };
        channel.subscribers -= 1;
        if channel.subscribers == 0 {
            state.wanted.remove(&self.channel);
            state.changed.insert(Arc::clone(&self.channel));
            drop(state);
            self.shared.look.notify_one();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement, so that a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn want(self: &Arc<Self>, name: &str) -> (Subscription, watch::Receiver<Standing>) {
        let mut state = self.state();
        let name: Arc<str> = match state.wanted.get_key_value(name) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::from(name),
        };
        let channel = state.wanted.entry(Arc::clone(&name)).or_insert_with(Channel::new);
        channel.subscribers += 1;
        if matches!(*channel.standing.borrow(), Standing::Refused(_)) {
            channel.standing.send_replace(Standing::Asked);
        }
        let (notices, standing) = (channel.notices.subscribe(), channel.standing.subscribe());
        state.changed.insert(Arc::clone(&name));
        if !std::mem::replace(&mut state.is_served, true) {
            tokio::spawn(serve(Arc::clone(self)));
        }
        drop(state);
        self.look.notify_one();
        let subscription = Subscription {
            shared: Arc::clone(self),
            channel: name,
            notices,
        };
        (subscription, standing)
    }

    /// Whether nobody wants anything; then the task that asks is to end.
    fn is_done(&self) -> bool {
        let mut state = self.state();
        if !state.wanted.is_empty() {
            return false;
        }
        state.is_served = false;
        state.changed.clear();
        true
    }

    /// A new connection is to hear all that is wanted.
    fn begin(&self) {
        let mut state = self.state();
        state.changed = state.wanted.keys().cloned().collect();
    }

    /// What is to be asked of the server next.
    fn next_change(&self, heard: &HashSet<Arc<str>>) -> Change {
        let mut state = self.state();
        let mut change = Change::default();
        for name in std::mem::take(&mut state.changed) {
            match (state.wanted.get_mut(&name), heard.contains(&name)) {
                (Some(_), false) => change.begin.push(name),
                (None, true) => change.cease.push(name),
                // Somebody else wants it, or wants it again, and the server has never ceased to send it.
                (Some(channel), true) => channel.confirm(),
                (None, false) => {}
            }
        }
        change
    }

    fn confirm(&self, names: &[Arc<str>]) {
        let mut state = self.state();
        for name in names {
            if let Some(channel) = state.wanted.get_mut(name) {
                channel.confirm();
            }
        }
    }

    /// Nothing is heard any more.
    fn interrupt(&self) {
        for channel in self.state().wanted.values_mut() {
            if matches!(*channel.standing.borrow(), Standing::Heard) {
                channel.standing.send_replace(Standing::Asked);
            }
        }
    }

    /// Tells those who wait for their first confirmation that there is none.
    fn refuse(&self, error: &Error) {
        for channel in self.state().wanted.values_mut() {
            channel.standing.send_if_modified(|standing| {
                let waits = matches!(standing, Standing::Asked);
                if waits {
                    *standing = Standing::Refused(error.clone());
                }
                waits
            });
        }
    }

    fn publish(&self, channel: &[u8]) {
        let Ok(name) = std::str::from_utf8(channel) else {
            return;
        };
        if let Some(channel) = self.state().wanted.get(name) {
            channel.notices.send_replace(());
        }
    }

    /// Listens until nobody wants anything, which is no error, or the connection breaks.
    async fn listen(&self, mut connection: MultiplexedConnection, broken: &CancellationToken) -> Result<()> {
        let timeout = self.dialer.config().request_timeout;
        let mut heard = HashSet::new();
        self.begin();
        loop {
            let Change { begin, cease } = self.next_change(&heard);
            if !cease.is_empty() {
                in_time(timeout, connection.unsubscribe(names(&cease))).await?;
                heard.retain(|name| !cease.contains(name));
            }
            if !begin.is_empty() {
                in_time(timeout, connection.subscribe(names(&begin))).await?;
                self.confirm(&begin);
                heard.extend(begin);
            }
            let pause = if heard.is_empty() { IDLE } else { timeout };
            tokio::select! {
                () = broken.cancelled() => return Err(broke()),
                () = self.look.notified() => {}
                () = tokio::time::sleep(pause) => {
                    if self.is_done() {
                        return Ok(());
                    }
                    // A peer that is gone without a word is found out by asking.
                    let ping = redis::cmd("PING");
                    in_time(timeout, ping.query_async::<Value>(&mut connection)).await?;
                }
            }
        }
    }
}

/// What is to be asked of the server.
#[derive(Default)]
struct Change {
    begin: Vec<Arc<str>>,
    cease: Vec<Arc<str>>,
}

impl Channel {
    fn new() -> Self {
        Self {
            subscribers: 0,
            notices: watch::Sender::new(()),
            standing: watch::Sender::new(Standing::Asked),
            was_heard: false,
        }
    }

    fn confirm(&mut self) {
        if matches!(*self.standing.borrow(), Standing::Heard) {
            return;
        }
        if std::mem::replace(&mut self.was_heard, true) {
            self.notices.send_replace(());
        }
        self.standing.send_replace(Standing::Heard);
    }
}

/// Listens for all who want to hear something, until nobody does.
async fn serve(shared: Arc<Shared>) {
    let ended = shared.ended.clone();
    tokio::select! {
        () = ended.cancelled() => {}
        () = serve_all(&shared) => {}
    }
}

async fn serve_all(shared: &Arc<Shared>) {
    let mut failed = 0;
    loop {
        let broken = CancellationToken::new();
        let pushes = Arc::new(Pushes {
            shared: Arc::downgrade(shared),
            broken: broken.clone(),
        });
        let ended = match shared.dialer.dial(pushes).await {
            Ok(connection) => {
                // What it could not keep up for long is no success.
                let began = tokio::time::Instant::now();
                let ended = shared.listen(connection, &broken).await;
                if began.elapsed() > shared.dialer.config().longest_pause {
                    failed = 0;
                }
                shared.interrupt();
                ended
            }
            Err(error) => Err(error),
        };
        let Err(error) = ended else { return };
        tracing::debug!(%error, "what is published on Redis is not heard; connecting again");
        shared.refuse(&error);
        if shared.is_done() {
            return;
        }
        tokio::time::sleep(line::pause(shared.dialer.config(), failed)).await;
        failed = failed.saturating_add(1);
    }
}

fn names(channels: &[Arc<str>]) -> Vec<&str> {
    channels.iter().map(|name| &**name).collect()
}

async fn in_time<T>(
    timeout: Duration,
    asked: impl Future<Output = std::result::Result<T, RedisError>>,
) -> Result<T> {
    match tokio::time::timeout(timeout, asked).await {
        Ok(answer) => answer.map_err(|source| error::of(source, true)),
        Err(_) => Err(not_within(timeout)),
    }
}

fn not_within(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("Redis did not confirm within {timeout:?} (`request_timeout`) that it will tell of changes"),
    )
    .without_effect()
}

fn broke() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the connection to Redis on which changes are told broke",
    )
    .without_effect()
}

fn closed() -> Error {
    Error::closed("the client of Redis")
}

/// Passes on what the server says unasked; never waits.
struct Pushes {
    shared: Weak<Shared>,
    broken: CancellationToken,
}

impl AsyncPushSender for Pushes {
    fn send(&self, info: PushInfo) -> std::result::Result<(), SendError> {
        match (info.kind, self.shared.upgrade()) {
            (PushKind::Disconnection, _) => self.broken.cancel(),
            (PushKind::Message, Some(shared)) => {
                if let Some(Value::BulkString(channel)) = info.data.first() {
                    shared.publish(channel);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
