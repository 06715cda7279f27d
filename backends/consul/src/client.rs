//! Requests to the agents: each ends in time, the next agent is tried when one cannot be reached, and the token stays in its header.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use infra_core::config::Validate;
use infra_core::{Error, ErrorKind, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, redirect};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{ConsulConfig, PORT};
use crate::keys::Keys;
use crate::{BACKEND, error, tls};

/// The header that Consul counts changes in.
const INDEX: &str = "x-consul-index";

/// A client; its clones are one.
#[derive(Clone)]
pub(crate) struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    /// `http://host:port` of each agent, or `https://`.
    agents: Vec<String>,
    /// The agent that answered last: what is registered there is known there.
    current: AtomicUsize,
    /// Places of requests that are answered at once.
    requests: Semaphore,
    /// Places of questions that wait at the agent until something has changed.
    questions: Semaphore,
    /// Places of such questions of which each is for many watches.
    questions_of_many: Semaphore,
    config: ConsulConfig,
    keys: Keys,
    /// Cancelled by the shutdown: whoever waits is told, and tasks end.
    closed: CancellationToken,
    /// Set when what was held was given back: what is left may not renew it.
    ended: AtomicBool,
}

/// What is asked of an agent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: Method,
    /// The path below `/v1/`, percent-encoded, with its query.
    path: String,
    body: Bytes,
    /// The index that must be exceeded, and how long to wait for that.
    blocking: Option<(u64, Duration)>,
    /// Whether it is asked for many watches together.
    of_many: bool,
}

/// Consul takes 200 connections from one address. So many requests of one client are on their way at once; others wait.
const REQUESTS: usize = 16;

/// So many folders, whose watches are followed together, have a question that waits at the agent.
const FOLDERS: usize = 16;

/// The pause before a question is asked that would be one more than may wait at the agent: it is answered at once.
const PAUSE: Duration = Duration::from_millis(400);

impl Request {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: Bytes::new(),
            blocking: None,
            of_many: false,
        }
    }

    pub(crate) fn put(path: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::PUT,
            body: body.into(),
            ..Self::get(path)
        }
    }

    /// Asks to be answered when the index is greater than this one, or after `wait`. Index 0 is answered at once.
    pub(crate) fn blocking(mut self, index: u64, wait: Duration) -> Self {
        self.blocking = (index > 0).then_some((index, wait));
        self
    }

    /// Is asked for many watches together, in a place of its own.
    pub(crate) fn of_many(mut self) -> Self {
        self.of_many = true;
        self
    }
}

/// What an agent answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// What the answer is current with; 0 where the agent does not say.
    pub(crate) index: u64,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The answer, if it is one of success.
    pub(crate) fn success(self) -> Result<Self> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(error::of_answer(self.status, &self.body))
    }

    /// What the body says.
    pub(crate) fn json<T: DeserializeOwned>(&self, what: &str) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|source| error::of_nonsense(what, source))
    }
}

impl Client {
    /// Connects; one agent that answers is enough.
    pub(crate) async fn connect(config: ConsulConfig) -> Result<Self> {
        let at = |error: Error| error.at("coordination", BACKEND, "connect");
        config.check().map_err(at)?;
        // Nothing falls back from the one to the other.
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        if config.tls.is_none() && config.token.is_some() {
            tracing::warn!("the ACL token for Consul is sent without TLS; configure `tls`");
        }
        let client = Self {
            inner: Arc::new(Inner {
                http: http(&config).map_err(at)?,
                agents: config
                    .hosts
                    .iter()
                    .map(|host| format!("{scheme}://{}", host.or_port(PORT)))
                    .collect(),
                current: AtomicUsize::new(0),
                requests: Semaphore::new(REQUESTS),
                questions: Semaphore::new(config.watch_connections),
                questions_of_many: Semaphore::new(FOLDERS),
                keys: Keys::new(&config.key_prefix),
                config,
                closed: CancellationToken::new(),
                ended: AtomicBool::new(false),
            }),
        };
        client.ask().await.map_err(at)?;
        Ok(client)
    }

    pub(crate) fn config(&self) -> &ConsulConfig {
        &self.inner.config
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Refuses a call after the shutdown.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.inner.closed.is_cancelled() {
            return Err(Error::closed("the client of Consul"));
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

    /// Whether one more question may wait at the agent.
    pub(crate) fn may_ask_another(&self) -> bool {
        self.inner.questions.available_permits() > 0
    }

    /// One cheap round trip that needs a leader and the rights to read what is ours.
    pub(crate) async fn ask(&self) -> Result<()> {
        let path = format!("kv/{}?keys&separator=/&consistent", self.keys().configuration());
        match self.send(&Request::get(path)).await?.success() {
            Ok(_) => Ok(()),
            Err(nothing_there) if nothing_there.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sends a request, as soon as not too many others are on their way.
    ///
    /// # Errors
    /// [`Timeout`](ErrorKind::Timeout) when it has no answer in time; else what kept it from one. An answer of any status is none.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer> {
        let limit = self.inner.config.request_timeout;
        if let Some((index, wait)) = request.blocking {
            let places = if request.of_many {
                &self.inner.questions_of_many
            } else {
                &self.inner.questions
            };
            if let Ok(_place) = places.try_acquire() {
                let separator = if request.path.contains('?') { '&' } else { '?' };
                let mut question = request.clone();
                question
                    .path
                    .push_str(&format!("{separator}index={index}&wait={}ms", wait.as_millis()));
                // Agents add up to a sixteenth, so that not all of them answer at once.
                return self.try_agents(&question, limit + wait + wait / 16).await;
            }
            tokio::time::sleep(PAUSE.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        }
        let place = tokio::time::timeout(limit, self.inner.requests.acquire()).await;
        let _place = place.map_err(|_| {
            Error::new(
                ErrorKind::Timeout,
                format!("{REQUESTS} requests to Consul were on their way for {limit:?}; it may be stopped"),
            )
            .without_effect()
        })?;
        self.try_agents(request, limit).await
    }

    /// Sends a request to the agent that answered last, and to the next ones while no connection can be made.
    ///
    /// A request that was sent is not sent again, whatever became of it: whoever asked knows whether that may be.
    async fn try_agents(&self, request: &Request, limit: Duration) -> Result<Answer> {
        let deadline = Instant::now() + limit;
        let mut tried = 1;
        loop {
            let agent = self.inner.current.load(Ordering::Acquire);
            let answer = tokio::time::timeout_at(deadline, self.exchange(agent, request)).await;
            let error = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => {
                    let message = format!(
                        "Consul did not answer within {limit:?}; it may have no leader, or be stopped"
                    );
                    Error::new(ErrorKind::Timeout, message)
                }
            };
            self.leave(agent);
            if !error.had_no_effect() || tried >= self.inner.agents.len() {
                return Err(error);
            }
            tried += 1;
        }
    }

    /// The next request goes to the next agent, unless somebody has left this one already.
    fn leave(&self, agent: usize) {
        let next = (agent + 1) % self.inner.agents.len();
        // Whoever was faster has left it.
        let _ = self
            .inner
            .current
            .compare_exchange(agent, next, Ordering::AcqRel, Ordering::Acquire);
    }

    async fn exchange(&self, agent: usize, request: &Request) -> Result<Answer> {
        let url = format!("{}/v1/{}", self.inner.agents[agent], request.path);
        let response = self
            .inner
            .http
            .request(request.method.clone(), url)
            .body(request.body.clone())
            .send()
            .await
            .map_err(error::of_transport)?;
        let index = response.headers().get(INDEX);
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok());
        Ok(Answer {
            status: response.status().as_u16(),
            index: index.unwrap_or(0),
            body: response.bytes().await.map_err(error::of_transport)?,
        })
    }
}

fn http(config: &ConsulConfig) -> Result<reqwest::Client> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(token) = &config.token {
        let mut value = HeaderValue::from_str(token.expose())
            .map_err(|_| Error::invalid_config("the ACL token of the URL cannot be sent; correct it"))?;
        value.set_sensitive(true);
        headers.insert("x-consul-token", value);
    }
    // An agent that does not even accept must leave time for the others.
    let share = config.request_timeout / u32::try_from(config.hosts.len().max(1)).unwrap_or(u32::MAX);
    let options = match &config.tls {
        Some(tls) => tls::options(tls)?,
        None => tls::none()?,
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(options)
        .https_only(config.tls.is_some())
        .default_headers(headers)
        .connect_timeout(config.connect_timeout.min(share))
        .pool_max_idle_per_host(REQUESTS)
        .tcp_keepalive(Duration::from_secs(10))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(error::of_transport)
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("agents", &self.inner.agents)
            .field("closed", &self.inner.closed.is_cancelled())
            .finish_non_exhaustive()
    }
}
