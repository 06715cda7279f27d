//! Commands that end in time, and are sent again when that is harmless; the one way from the contracts to the driver.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use infra_core::config::Validate;
use infra_core::{Error, ErrorKind, Result};
use redis::aio::ConnectionLike;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, ErrorKind as DriverKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio_util::sync::CancellationToken;

use crate::config::RedisConfig;
use crate::dial::Dialer;
use crate::error::{self, Fate};
use crate::keys::Keys;
use crate::line::{self, Line};
use crate::locks::Queues;
use crate::notices::Notices;

/// How often one request is sent to where a node of a cluster says that the key is.
const MOST_REDIRECTIONS: u32 = 5;
/// How many repetitions more there are while a cluster moves slots or chooses a master.
const SETTLING: u32 = 6;

/// Whether doing an operation twice is the same as doing it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It is: a command whose reply was lost is sent again.
    Harmless,
    /// It is not: such a command is reported.
    Never,
}

/// The connection of a process, which several clients may share.
#[derive(Debug)]
pub(crate) enum Link {
    Server(Arc<Line>),
    Cluster(Cluster),
}

/// The driver's connection to a cluster, which mends itself.
pub(crate) struct Cluster(ClusterConnection);

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster")
    }
}

/// What is sent in one go.
#[derive(Clone, Copy)]
enum Request<'r> {
    Command(&'r Cmd),
    /// As many replies as it has commands.
    Pipeline(&'r Pipeline),
}

/// Which node of a cluster is to be asked.
#[derive(Debug, Clone)]
pub(crate) enum Way {
    /// The one that has the keys.
    Usual,
    /// This one.
    To(SingleNodeRoutingInfo),
    /// This one, which has the slot of the key only in part as yet.
    Asking(SingleNodeRoutingInfo),
}

/// Why there is no reply.
enum Failure {
    /// There is no connection, so nothing was sent.
    Dial(Error),
    Driver(RedisError),
}

impl Link {
    /// Connects.
    pub(crate) async fn connect(dialer: Arc<Dialer>) -> Result<Self> {
        if dialer.config().is_cluster() {
            return Ok(Self::Cluster(Cluster(dialer.dial_cluster().await?)));
        }
        let line = Line::new(dialer);
        line.connection().await?;
        Ok(Self::Server(line))
    }

    async fn send(&self, request: Request<'_>, way: &Way) -> std::result::Result<Value, Failure> {
        match self {
            Self::Server(line) => {
                let established = match line.current() {
                    Some(established) => established,
                    None => Box::pin(line.connection()).await.map_err(Failure::Dial)?,
                };
                let mut connection = established.connection.clone();
                let sent = match request {
                    Request::Command(command) => {
                        connection.send_packed_command(command).await.and_then(no_error)
                    }
                    Request::Pipeline(pipeline) => {
                        let sending = connection.send_packed_commands(pipeline, 0, pipeline.len());
                        replies(Box::pin(sending).await)
                    }
                };
                sent.map_err(|error| {
                    if is_useless_after(&error) {
                        line.discard(&established);
                    }
                    Failure::Driver(error)
                })
            }
            Self::Cluster(cluster) => Box::pin(cluster.send(request, way))
                .await
                .map_err(Failure::Driver),
        }
    }
}

impl Cluster {
    async fn send(&self, request: Request<'_>, way: &Way) -> RedisResult<Value> {
        let mut connection = self.0.clone();
        match (request, way) {
            (Request::Pipeline(pipeline), _) => {
                replies(connection.req_packed_commands(pipeline, 0, pipeline.len()).await)
            }
            (Request::Command(command), Way::Usual) => {
                connection.req_packed_command(command).await.and_then(no_error)
            }
            (Request::Command(command), Way::To(node)) => {
                let route = RoutingInfo::SingleNode(node.clone());
                connection
                    .route_command(command.clone(), route)
                    .await
                    .and_then(no_error)
            }
            (Request::Command(command), Way::Asking(node)) => {
                let mut pipeline = Pipeline::with_capacity(2);
                pipeline.cmd("ASKING").add_command(command.clone());
                let replies = connection.route_pipeline(pipeline, 1, 1, node.clone()).await?;
                no_error(replies.into_iter().next().unwrap_or_default())
            }
        }
    }
}

impl Way {
    /// Where a node said that the key is.
    fn shown_by(error: &RedisError) -> Option<Self> {
        let (address, _slot) = error.redirect_node()?;
        let (host, port) = address.rsplit_once(':')?;
        let node = SingleNodeRoutingInfo::ByAddress {
            host: host.to_owned(),
            port: port.parse().ok()?,
        };
        let is_asked = error.kind() == DriverKind::Server(ServerErrorKind::Ask);
        Some(if is_asked {
            Self::Asking(node)
        } else {
            Self::To(node)
        })
    }
}

/// The driver gives what the server refused as a reply.
fn no_error(reply: Value) -> RedisResult<Value> {
    match reply {
        Value::ServerError(refused) => Err(refused.into()),
        reply => Ok(reply),
    }
}

fn replies(replies: RedisResult<Vec<Value>>) -> RedisResult<Value> {
    replies.map(Value::Array)
}

/// Whether the connection on which this happened must be made again: it broke, or it leads to what is no master any more.
fn is_useless_after(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.kind() == DriverKind::Server(ServerErrorKind::ReadOnly)
}

/// A connected client; its clones are one.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    dialer: Arc<Dialer>,
    config: RedisConfig,
    keys: Keys,
    notices: Arc<Notices>,
    queues: Arc<Queues>,
    closed: Closed,
}

/// Whether a client was shut down, for itself and its scopes.
#[derive(Debug, Clone, Default)]
struct Closed {
    /// Looked at by every operation; a token takes a lock for it.
    is_closed: Arc<AtomicBool>,
    /// Cancelled by the shutdown: whoever waits is told, and tasks end.
    token: CancellationToken,
}

impl Client {
    /// Connects; one host that answers is enough.
    pub(crate) async fn connect(config: RedisConfig) -> Result<Self> {
        config.check()?;
        let dialer = Arc::new(Dialer::new(config.clone())?);
        let link = Arc::new(Link::connect(Arc::clone(&dialer)).await?);
        Ok(Self::on(link, dialer, config))
    }

    /// A client on a connection that may serve others too.
    pub(crate) fn on(link: Arc<Link>, dialer: Arc<Dialer>, config: RedisConfig) -> Self {
        let closed = Closed::default();
        Self {
            inner: Arc::new(Inner {
                link,
                notices: Arc::new(Notices::new(Arc::clone(&dialer), &closed.token)),
                queues: Arc::default(),
                dialer,
                keys: Keys::new(config.compat, &config.key_prefix),
                config,
                closed,
            }),
        }
    }

    /// The same connection and shutdown, with keys below another prefix.
    pub(crate) fn with_keys(&self, keys: Keys) -> Self {
        Self {
            inner: Arc::new(Inner {
                link: Arc::clone(&self.inner.link),
                dialer: Arc::clone(&self.inner.dialer),
                notices: Arc::clone(&self.inner.notices),
                queues: Arc::clone(&self.inner.queues),
                config: self.inner.config.clone(),
                keys,
                closed: self.inner.closed.clone(),
            }),
        }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.inner.config
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Makes further connections like this client's.
    pub(crate) fn dialer(&self) -> &Arc<Dialer> {
        &self.inner.dialer
    }

    /// What others publish.
    pub(crate) fn notices(&self) -> &Notices {
        &self.inner.notices
    }

    /// Who waits for locks.
    pub(crate) fn queues(&self) -> &Queues {
        &self.inner.queues
    }

    /// Cancelled when the client is shut down.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.inner.closed.token
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inner.closed.is_closed.load(Ordering::Relaxed)
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::closed("the client of Redis"));
        }
        Ok(())
    }

    /// Whether a server answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.check_open()?;
        let pong = self.run(&redis::cmd("PING"), Repeat::Harmless).await?;
        crate::reply::bytes(pong).map(drop)
    }

    /// Asks for one thing.
    pub(crate) async fn run(&self, command: &Cmd, repeat: Repeat) -> Result<Value> {
        self.bounded(Request::Command(command), Way::Usual, repeat).await
    }

    /// Asks one node of a cluster.
    pub(crate) async fn run_at(&self, command: &Cmd, way: Way, repeat: Repeat) -> Result<Value> {
        self.bounded(Request::Command(command), way, repeat).await
    }

    /// Asks for several things in one round trip; a reply, which may be an error, for each. On a cluster all must be of one slot.
    pub(crate) async fn run_all(&self, pipeline: &Pipeline, repeat: Repeat) -> Result<Vec<Value>> {
        match self
            .bounded(Request::Pipeline(pipeline), Way::Usual, repeat)
            .await?
        {
            Value::Array(replies) => Ok(replies),
            _ => Err(unexpected()),
        }
    }

    /// Asks for several things at the same time, whatever slots they are of; an answer for each.
    pub(crate) async fn run_each(&self, commands: Vec<Cmd>, repeat: Repeat) -> Result<Vec<Result<Value>>> {
        if self.inner.config.is_cluster() {
            return Ok(join_all(commands.iter().map(|command| self.run(command, repeat))).await);
        }
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command);
        }
        let replies = self.run_all(&pipeline, repeat).await?;
        Ok(replies.into_iter().map(Ok).collect())
    }

    async fn bounded(&self, request: Request<'_>, way: Way, repeat: Repeat) -> Result<Value> {
        let timeout = self.inner.config.request_timeout;
        // Pinned where it is: a future that is handed on would have its place twice.
        let attempts = pin!(self.attempts(request, way, repeat));
        match tokio::time::timeout(timeout, attempts).await {
            Ok(reply) => reply,
            Err(_) => Err(timed_out(timeout)),
        }
    }

    /// The first attempt. What rarely happens stands in boxes of its own here and below: the future of every operation would else be
    /// as large as all of it together.
    async fn attempts(&self, request: Request<'_>, way: Way, repeat: Repeat) -> Result<Value> {
        match self.inner.link.send(request, &way).await {
            Ok(reply) => Ok(reply),
            Err(failure) => Box::pin(self.further_attempts(failure, request, repeat)).await,
        }
    }

    async fn further_attempts(
        &self,
        mut failure: Failure,
        request: Request<'_>,
        repeat: Repeat,
    ) -> Result<Value> {
        let (mut failed, mut redirected, mut reply_lost) = (0, 0, false);
        loop {
            let way = match failure.shown_way() {
                Some(shown) if redirected < MOST_REDIRECTIONS => {
                    redirected += 1;
                    shown
                }
                _ => {
                    let most = self.inner.config.retries + failure.settling();
                    if !failure.may_be_repeated(repeat) || failed >= most {
                        let passing = reply_lost && failure.may_pass();
                        let error = failure.into_error(repeat);
                        return Err(if passing {
                            error::after_lost_reply(error)
                        } else {
                            error
                        });
                    }
                    reply_lost |= failure.lost_reply();
                    // Before that nobody tries to connect: the repetition would be refused with what is known already.
                    let pause = line::pause(&self.inner.config, failed).max(failure.pause());
                    tokio::time::sleep(pause).await;
                    failed += 1;
                    Way::Usual
                }
            };
            failure = match self.inner.link.send(request, &way).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
        }
    }

    /// Ends the client; whether it was open.
    pub(crate) fn close(&self) -> bool {
        let was_closed = self.inner.closed.is_closed.swap(true, Ordering::Relaxed);
        self.inner.closed.token.cancel();
        !was_closed
    }
}

impl Failure {
    fn may_be_repeated(&self, repeat: Repeat) -> bool {
        let harmless = repeat == Repeat::Harmless || !self.lost_reply();
        harmless && self.may_pass()
    }

    fn may_pass(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_retryable(),
            Self::Driver(error) => error::may_pass(error),
        }
    }

    fn lost_reply(&self) -> bool {
        matches!(self, Self::Driver(error) if error::fate(error) == Fate::ReplyLost)
    }

    /// How long nobody tries to connect.
    fn pause(&self) -> Duration {
        match self {
            Self::Dial(error) => error.retry_after().unwrap_or_default(),
            Self::Driver(_) => Duration::ZERO,
        }
    }

    /// Where a node of a cluster said that the key is.
    fn shown_way(&self) -> Option<Way> {
        match self {
            Self::Dial(_) => None,
            Self::Driver(error) => Way::shown_by(error),
        }
    }

    /// How many repetitions more there are while a cluster comes to know its nodes.
    fn settling(&self) -> u32 {
        match self {
            Self::Driver(error)
                if error.is_cluster_error() || error.kind() == DriverKind::ClusterConnectionNotFound =>
            {
                SETTLING
            }
            _ => 0,
        }
    }

    fn into_error(self, repeat: Repeat) -> Error {
        match self {
            Self::Dial(error) => error,
            Self::Driver(error) => error::of(error, repeat == Repeat::Harmless),
        }
    }
}

fn timed_out(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!(
            "Redis did not answer within {timeout:?} (`request_timeout`); if it was asked for a change, that may have been made"
        ),
    )
}

/// A reply of a form that the command does not have.
pub(crate) fn unexpected() -> Error {
    Error::new(
        ErrorKind::DataCorrupted,
        "the reply of Redis is not of the form that the command has",
    )
}
