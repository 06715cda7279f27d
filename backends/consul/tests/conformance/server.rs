//! One run's part of a real Consul: a proxy before each client, and a hand of our own in the server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use infra_consul::{ConsulConfig, ConsulCoordinator};
use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Host};
use infra_core::error::{Error, ErrorKind, Result};
use infra_testkit::conformance::{Disturbance, Fixture, Probe, Setup};
use infra_testkit::servers;
use infra_testkit::tcp_proxy::{Cut, TcpProxy};
use serde_json::Value;

/// The part of the server that one run has, and its clients in the order in which the scenario connected them.
struct Part {
    namespace: String,
    address: String,
    config: ConsulConfig,
    http: reqwest::Client,
    proxies: Mutex<Vec<TcpProxy>>,
}

/// A fresh part of the server.
pub(crate) fn fixture(setup: &Setup) -> Result<Fixture<ConsulCoordinator>> {
    let part = Arc::new(Part::new(&setup.namespace)?);
    let (connecting, looking, ending) = (Arc::clone(&part), Arc::clone(&part), Arc::clone(&part));
    Ok(Fixture::server(move || {
        let part = Arc::clone(&connecting);
        async move { part.connect().await.map(Arc::new) }
    })
    .on_disturbance(move |disturbance| {
        let part = Arc::clone(&part);
        async move { part.disturb(disturbance).await }
    })
    .on_probe(move |probe| match probe {
        Probe::LockQueue { key } => looking.count(&looking.lock_folder(&key)),
        _ => None,
    })
    .on_teardown(move || async move { ending.clean().await }))
}

fn internal(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "the hand in the server failed").with_source(source)
}

/// A client for requests without TLS, which wants to be told of TLS all the same.
pub(crate) fn http() -> Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let tls = versions
        .map_err(internal)?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls);
    builder.no_proxy().build().map_err(internal)
}

impl Part {
    fn new(namespace: &str) -> Result<Self> {
        let mut config = ConsulConfig::development();
        config.take_url(&BackendUrl::parse(&servers::url("consul")?)?)?;
        let address = config.hosts.first().map(|host| host.or_port(8500));
        Ok(Self {
            namespace: namespace.to_owned(),
            address: address.unwrap_or_default(),
            config: config
                .with_key_prefix(format!("{namespace}/"))
                .with_watches(Duration::from_secs(10), 64)
                .with_instance_ids(Duration::from_secs(10), Duration::from_secs(1)),
            http: http()?,
            proxies: Mutex::default(),
        })
    }

    fn proxies(&self) -> MutexGuard<'_, Vec<TcpProxy>> {
        self.proxies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<ConsulCoordinator> {
        let proxy = TcpProxy::start(&self.address)?;
        let host = Host::new("127.0.0.1", Some(proxy.address().port()));
        self.proxies().push(proxy);
        ConsulCoordinator::connect(self.config.clone().with_hosts([host])).await
    }

    fn cut(&self, which: impl Fn(usize) -> bool) -> Result<bool> {
        for (_, proxy) in self
            .proxies()
            .iter()
            .enumerate()
            .filter(|(number, _)| which(*number))
        {
            proxy.refuse()?;
            proxy.cut(Cut::Reset)?;
        }
        Ok(true)
    }

    fn heal(&self, which: impl Fn(usize) -> bool) -> Result<bool> {
        for (_, proxy) in self
            .proxies()
            .iter()
            .enumerate()
            .filter(|(number, _)| which(*number))
        {
            proxy.heal()?;
        }
        Ok(true)
    }

    async fn disturb(&self, disturbance: Disturbance) -> Result<bool> {
        match disturbance {
            Disturbance::GoAway => self.cut(|_| true),
            Disturbance::ComeBack => self.heal(|_| true),
            Disturbance::Disconnect { client } | Disturbance::Crash { client } => {
                self.cut(|number| number == client)
            }
            Disturbance::Reconnect { client } => self.heal(|number| number == client),
            Disturbance::LoseSessions => self.lose_sessions().await,
            Disturbance::ExpireLock { key } => self.expire_lock(&key).await,
            Disturbance::StealLock { key } => {
                self.expire_lock(&key).await?;
                self.ask("PUT", &format!("kv/{}thief", self.lock_folder(&key)))
                    .await?;
                Ok(true)
            }
            Disturbance::ExpireInstance { service, id } => self.deregister(&format!("{service}/{id}")).await,
            Disturbance::RevokeInstanceId { service, number } => {
                let key = format!("kv/{}/instance_ids/{service}/{number}", self.namespace);
                self.ask("DELETE", &key).await?;
                Ok(true)
            }
            // The server is everybody's, and keeps no history.
            _ => Ok(false),
        }
    }

    fn lock_folder(&self, key: &str) -> String {
        format!("{}/locks/{}/", self.namespace, key.replace('/', "%2F"))
    }

    async fn ask(&self, method: &str, path: &str) -> Result<Value> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(internal)?;
        // Names are escaped with `%`, which a path escapes again.
        let url = format!("http://{}/v1/{}", self.address, path.replace('%', "%25"));
        let answer = self.http.request(method, url).send().await.map_err(internal)?;
        let body = answer.bytes().await.map_err(internal)?;
        Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn pairs(&self, folder: &str) -> Result<Vec<Value>> {
        let found = self.ask("GET", &format!("kv/{folder}?recurse")).await?;
        Ok(found.as_array().cloned().unwrap_or_default())
    }

    async fn expire_lock(&self, key: &str) -> Result<bool> {
        let line = self.pairs(&self.lock_folder(key)).await?;
        let first = line.iter().min_by_key(|pair| pair["CreateIndex"].as_u64());
        let Some(holder) = first.and_then(|pair| pair["Key"].as_str()) else {
            return Ok(false);
        };
        self.ask("DELETE", &format!("kv/{holder}")).await?;
        Ok(true)
    }

    async fn lose_sessions(&self) -> Result<bool> {
        for pair in self.pairs(&format!("{}/", self.namespace)).await? {
            if let Some(session) = pair["Session"].as_str() {
                self.ask("PUT", &format!("session/destroy/{session}")).await?;
            }
        }
        self.deregister_all().await?;
        Ok(true)
    }

    async fn deregister(&self, id: &str) -> Result<bool> {
        let services = self.ask("GET", "agent/services").await?;
        let there = services.get(id).is_some();
        self.ask("PUT", &format!("agent/service/deregister/{id}")).await?;
        Ok(there)
    }

    async fn deregister_all(&self) -> Result<()> {
        let services = self.ask("GET", "agent/services").await?;
        for id in services.as_object().into_iter().flat_map(serde_json::Map::keys) {
            if id.starts_with(&self.namespace) {
                self.deregister(id).await?;
            }
        }
        Ok(())
    }

    async fn clean(&self) -> Result<()> {
        self.proxies().clear();
        self.deregister_all().await?;
        self.ask("DELETE", &format!("kv/{}/?recurse", self.namespace))
            .await?;
        Ok(())
    }

    /// How many keys a folder has; asked without a runtime, which a probe is not given.
    fn count(&self, folder: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        let path = folder.replace('%', "%25");
        write!(stream, "GET /v1/kv/{path}?keys HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let keys: Vec<String> = serde_json::from_str(body).unwrap_or_default();
        u64::try_from(keys.len()).ok()
    }
}
