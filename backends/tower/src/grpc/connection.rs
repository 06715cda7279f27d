//! One connection to one instance: opened when it is first wanted, opened again after it was lost, never waited for by a
//! request that another instance can take.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use super::fleet::Fleet;

/// The pause after the first failed attempt to connect.
const FIRST_DELAY: Duration = Duration::from_millis(100);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The connection to one instance, through all the times that it is lost and made again.
pub(super) struct Connection {
    endpoint: Endpoint,
    max_delay: Duration,
    fleet: Weak<Fleet>,
    state: Mutex<State>,
    unanswered: AtomicU64,
}

struct State {
    phase: Phase,
    /// Counts the channels that were made, so that a late failure of an old one does not end a new one.
    made: u64,
    attempts: Option<AbortHandle>,
    /// Why the latest attempt to connect failed.
    last_error: Option<String>,
}

#[derive(Debug)]
enum Phase {
    /// Nobody wanted it yet.
    Idle,
    /// It is being opened.
    Opening,
    /// It is open, as far as is known.
    Open(Channel),
    /// It could not be opened, and is tried again after pauses.
    Unreachable,
}

/// What the choice among instances needs to know of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Open,
    /// It is not known whether the instance can be reached.
    Unknown,
    Unreachable,
}

impl Connection {
    pub(super) fn new(endpoint: Endpoint, max_delay: Duration, fleet: Weak<Fleet>) -> Arc<Self> {
        Arc::new(Self {
            endpoint,
            max_delay,
            fleet,
            state: Mutex::new(State {
                phase: Phase::Idle,
                made: 0,
                attempts: None,
                last_error: None,
            }),
            unanswered: AtomicU64::new(0),
        })
    }

    pub(super) fn reach(&self) -> Reach {
        match self.lock().phase {
            Phase::Idle | Phase::Opening => Reach::Unknown,
            Phase::Open(_) => Reach::Open,
            Phase::Unreachable => Reach::Unreachable,
        }
    }

    pub(super) fn uri(&self) -> &Uri {
        self.endpoint.uri()
    }

    /// Why the instance could not be reached last, if it cannot be.
    pub(super) fn last_error(&self) -> Option<String> {
        self.lock().last_error.clone()
    }

    /// The open channel and its number, or `None` after seeing to it that one is being opened.
    pub(super) fn channel(self: &Arc<Self>) -> Option<(Channel, u64)> {
        let mut state = self.lock();
        match &state.phase {
            Phase::Open(channel) => return Some((channel.clone(), state.made)),
            Phase::Opening | Phase::Unreachable => {}
            Phase::Idle => self.open(&mut state),
        }
        None
    }

    /// Takes note that the channel of this number does not work any more, and begins to open another.
    pub(super) fn lost(self: &Arc<Self>, made: u64) {
        let mut state = self.lock();
        if state.made != made || !matches!(state.phase, Phase::Open(_)) {
            return;
        }
        tracing::debug!(uri = %self.uri(), "the connection to an instance was lost; opening another");
        self.open(&mut state);
        drop(state);
        self.tell();
    }

    /// The number of requests that it has not answered yet.
    pub(super) fn unanswered(&self) -> u64 {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Counts a request until the returned guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Unanswered {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        Unanswered(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(self: &Arc<Self>, state: &mut State) {
        state.phase = Phase::Opening;
        let attempts = connect(Arc::downgrade(self), self.endpoint.clone(), self.max_delay);
        state.attempts = Some(tokio::spawn(attempts).abort_handle());
    }

    /// Takes the outcome of an attempt to connect.
    fn settle(&self, outcome: Result<Channel, tonic::transport::Error>) {
        let mut state = self.lock();
        match outcome {
            Ok(channel) => {
                state.phase = Phase::Open(channel);
                state.made += 1;
                state.last_error = None;
            }
            Err(error) => {
                let error = causes(&error);
                if state.last_error.is_none() {
                    tracing::warn!(uri = %self.uri(), error, "an instance cannot be reached; others take its requests");
                }
                state.phase = Phase::Unreachable;
                state.last_error = Some(error);
            }
        }
        drop(state);
        self.tell();
    }

    /// Lets the fleet choose anew.
    fn tell(&self) {
        if let Some(fleet) = self.fleet.upgrade() {
            fleet.choose_again();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("uri", self.uri())
            .field("reach", &self.reach())
            .field("unanswered", &self.unanswered())
            .finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(attempts) = self.lock().attempts.take() {
            attempts.abort();
        }
    }
}

/// One request that an instance has not answered completely.
#[derive(Debug)]
pub(super) struct Unanswered(Arc<Connection>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tries until the instance is reached, or nobody wants it any more.
async fn connect(connection: Weak<Connection>, endpoint: Endpoint, max_delay: Duration) {
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY.min(max_delay))
        .with_max_delay(max_delay)
        .with_jitter()
        .without_max_times()
        .build();
    loop {
        let outcome = endpoint.connect_with_connector(Once::new(&endpoint)).await;
        let reached = outcome.is_ok();
        match connection.upgrade() {
            Some(connection) => connection.settle(outcome),
            None => return,
        }
        if reached {
            return;
        }
        tokio::time::sleep(delays.next().unwrap_or(max_delay)).await;
    }
}

/// A failure with its causes, which the driver's own text leaves out. A connection attempt carries no secret.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Connects one time. A channel reconnects by itself, one request after the other waiting for an attempt of its own; refused
/// a second connection it fails all of them at once, and they go elsewhere.
struct Once {
    tcp: Option<HttpConnector>,
}

impl Once {
    fn new(endpoint: &Endpoint) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(endpoint.get_tcp_nodelay());
        tcp.set_keepalive(endpoint.get_tcp_keepalive());
        tcp.set_keepalive_interval(endpoint.get_tcp_keepalive_interval());
        tcp.set_keepalive_retries(endpoint.get_tcp_keepalive_retries());
        tcp.set_connect_timeout(endpoint.get_connect_timeout());
        Self { tcp: Some(tcp) }
    }
}

impl Service<Uri> for Once {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self.tcp.take() {
            Some(mut tcp) => {
                let connecting = tcp.call(uri);
                Box::pin(async move { connecting.await.map_err(BoxError::from) })
            }
            None => Box::pin(ready(Err("the connection to this instance is over".into()))),
        }
    }
}
