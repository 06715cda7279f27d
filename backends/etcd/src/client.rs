//! One connection to a cluster: requests that end in time, and errors that say where they come from.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use etcd_client::{
    Client as EtcdClient, ConnectOptions, Error as EtcdError, GetOptions, GetResponse, Txn, TxnResponse,
    WatchOptions, WatchStream,
};
use infra_core::config::Validate;
use infra_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::config::{EtcdConfig, PORT};
use crate::keys::Keys;
use crate::{BACKEND, error, tls};

/// The pause before the first repetition.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A connected client; its clones are one.
#[derive(Clone)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    etcd: EtcdClient,
    config: EtcdConfig,
    keys: Keys,
    /// Cancelled by the shutdown: whoever waits is told, and tasks end.
    closed: CancellationToken,
    /// Set when the leases were given back: what is left may not renew them.
    ended: AtomicBool,
}

impl Client {
    /// Connects; one endpoint that answers is enough.
    pub(crate) async fn connect(config: EtcdConfig) -> Result<Self> {
        let at = |error: Error| error.at("coordination", BACKEND, "connect");
        config.check().map_err(at)?;
        let tls = config.tls.as_ref().map(tls::options).transpose().map_err(at)?;
        // Nothing falls back from the one to the other.
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoints: Vec<String> = config
            .endpoints
            .iter()
            .map(|host| format!("{scheme}://{}", host.or_port(PORT)))
            .collect();
        let mut options = ConnectOptions::new()
            .with_connect_timeout(config.connect_timeout)
            .with_keep_alive(config.keep_alive_interval, config.keep_alive_timeout)
            .with_keep_alive_while_idle(true)
            // A member that has lost its leader says so, instead of answering nothing: watches go on elsewhere.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(tls) = tls {
            options = options.with_tls(tls);
        } else if config.password.is_some() {
            tracing::warn!("the password for etcd is sent without TLS; configure `tls`");
        }
        if let (Some(user), Some(password)) = (&config.user, &config.password) {
            options = options.with_user(user, password.expose());
        }
        let connecting = EtcdClient::connect(endpoints, Some(options));
        let etcd = bounded(config.connect_timeout, connecting).await.map_err(at)?;
        let client = Self {
            inner: Arc::new(Inner {
                keys: Keys::new(config.compat, &config.key_prefix),
                etcd,
                config,
                closed: CancellationToken::new(),
                ended: AtomicBool::new(false),
            }),
        };
        client.ask().await.map_err(at)?;
        Ok(client)
    }

    pub(crate) fn config(&self) -> &EtcdConfig {
        &self.inner.config
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// A handle on etcd's own client; its clones are one connection.
    pub(crate) fn native(&self) -> EtcdClient {
        self.inner.etcd.clone()
    }

    /// Runs one request within its time. A request that did not leave, since an endpoint could not be connected to, is made again:
    /// with one of three members away, every other one has it within the same call.
    pub(crate) async fn call<T, F>(&self, request: impl Fn(EtcdClient) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, EtcdError>>,
    {
        // etcd's own handle takes itself by `&mut`, and is cheap to clone.
        let attempts = (|| request(self.inner.etcd.clone()))
            .retry(not_sent_patience())
            .when(error::was_not_sent);
        self.bounded(attempts).await
    }

    pub(crate) async fn get(&self, key: &str, options: GetOptions) -> Result<GetResponse> {
        self.call(|mut etcd| {
            let options = Some(options.clone());
            async move { etcd.get(key, options).await }
        })
        .await
    }

    pub(crate) async fn txn(&self, transaction: Txn) -> Result<TxnResponse> {
        self.call(|mut etcd| {
            let transaction = transaction.clone();
            async move { etcd.txn(transaction).await }
        })
        .await
    }

    /// Opens a stream of its own for one watch; the first message says whether the server took it.
    pub(crate) async fn watch(&self, key: impl Into<Vec<u8>>, options: WatchOptions) -> Result<WatchStream> {
        let key = key.into();
        self.call(|mut etcd| {
            let (key, options) = (key.clone(), Some(options.clone()));
            async move { etcd.watch(key, options).await }
        })
        .await
    }

    /// One cheap round trip that needs a leader.
    pub(crate) async fn ask(&self) -> Result<()> {
        self.get(&self.keys().configuration(), GetOptions::new())
            .await
            .map(drop)
    }

    /// Waits no longer than a request may take.
    pub(crate) async fn bounded<T>(&self, answer: impl Future<Output = Result<T, EtcdError>>) -> Result<T> {
        bounded(self.inner.config.request_timeout, answer).await
    }

    /// Refuses a call after the shutdown.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.inner.closed.is_cancelled() {
            return Err(Error::closed("the client of etcd"));
        }
        Ok(())
    }

    /// Cancelled by the shutdown.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.inner.closed
    }

    /// Whether this was the first call.
    pub(crate) fn close(&self) -> bool {
        self.inner.closed.cancel();
        !self.inner.ended.swap(true, Ordering::AcqRel)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.inner.config.endpoints)
            .field("closed", &self.inner.closed.is_cancelled())
            .finish_non_exhaustive()
    }
}

/// How long and how often what must be done in the end is tried again: without end, with pauses that grow to a few seconds.
pub(crate) fn patience() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
}

/// How often a request that did not leave is made again: at once, then with short pauses.
fn not_sent_patience() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(1))
        .with_max_delay(Duration::from_millis(50))
        .with_jitter()
        .with_max_times(10)
}

async fn bounded<T>(limit: Duration, request: impl Future<Output = Result<T, EtcdError>>) -> Result<T> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(error::of),
        Err(_) => Err(Error::new(
            ErrorKind::Timeout,
            format!(
                "etcd did not answer within {limit:?}; it may have no leader, or no endpoint can be reached"
            ),
        )),
    }
}
