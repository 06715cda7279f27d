//! Where the cluster is, and how patient its clients are.

use std::time::Duration;

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::{Compat, Host, Problems, Secret, TlsConfig, Validate, humane};
use serde::{Deserialize, Serialize};

/// How a process uses an etcd cluster.
///
/// The URL names the endpoints and the user: `etcd://user:password@one:2379,two:2379,three:2379`; what stands below stands beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EtcdConfig {
    /// The endpoints, from the URL; one that answers is enough to start.
    #[serde(skip)]
    pub endpoints: Vec<Host>,
    /// The user, from the URL.
    #[serde(skip)]
    pub user: Option<String>,
    /// The user's password, from the URL.
    #[serde(skip)]
    pub password: Option<Secret<String>>,
    /// Speaks TLS, or not at all where there is this: `tls = { ca_file = "ca.pem" }`. Default: no TLS.
    pub tls: Option<TlsConfig>,
    /// What every key begins with. Default: `infra/`.
    pub key_prefix: String,
    /// Whose keys and values: our own below `key_prefix`, or those of GoChat's im-infra, which have places of their own. Default:
    /// our own.
    pub compat: Compat,
    /// How long connecting may take. Default: 5 s in development, 10 s in production.
    #[serde(with = "humane")]
    pub connect_timeout: Duration,
    /// How long one request may take. Default: 5 s.
    #[serde(with = "humane")]
    pub request_timeout: Duration,
    /// How often an idle connection is tried. Default: 10 s.
    #[serde(with = "humane")]
    pub keep_alive_interval: Duration,
    /// How long the answer to such a trial may take before the connection is given up. Default: 5 s.
    #[serde(with = "humane")]
    pub keep_alive_timeout: Duration,
    /// How many events of a watch wait for a slow reader. Default: 1,024.
    pub watch_buffer: usize,
    /// How long an instance id stays with its holder without a renewal. Default: 30 s.
    #[serde(with = "humane")]
    pub instance_id_ttl: Duration,
    /// How long an instance id is not handed out again after it was given back or lost. Default: 10 s.
    #[serde(with = "humane")]
    pub instance_id_quarantine: Duration,
}

impl Default for EtcdConfig {
    /// The same as [`EtcdConfig::development`].
    fn default() -> Self {
        Self::development()
    }
}

impl EtcdConfig {
    /// One node on this machine.
    #[must_use]
    pub fn development() -> Self {
        Self {
            endpoints: vec![Host::new("localhost", Some(PORT))],
            user: None,
            password: None,
            tls: None,
            key_prefix: "infra/".to_owned(),
            compat: Compat::Native,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(5),
            watch_buffer: 1024,
            instance_id_ttl: Duration::from_secs(30),
            instance_id_quarantine: Duration::from_secs(10),
        }
    }

    /// The same with more patience while connecting.
    #[must_use]
    pub fn production() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            ..Self::development()
        }
    }

    /// The same with other endpoints.
    #[must_use]
    pub fn with_endpoints(mut self, endpoints: impl IntoIterator<Item = Host>) -> Self {
        self.endpoints = endpoints.into_iter().collect();
        self
    }

    /// The same, speaking TLS.
    #[must_use]
    pub fn with_tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The same with another beginning of every key.
    #[must_use]
    pub fn with_key_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.key_prefix = prefix.into();
        self
    }

    /// The same with the keys and values of another implementation.
    #[must_use]
    pub fn with_compat(mut self, compat: Compat) -> Self {
        self.compat = compat;
        self
    }

    /// The same with another bound for each request.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// The same with another time to live and quarantine of instance ids.
    #[must_use]
    pub fn with_instance_ids(mut self, ttl: Duration, quarantine: Duration) -> Self {
        self.instance_id_ttl = ttl;
        self.instance_id_quarantine = quarantine;
        self
    }

    /// What a client declares, whatever its configuration.
    #[must_use]
    pub fn capabilities() -> Capabilities {
        Capabilities::new(Self::limits())
            .with(Capability::Durable)
            .with(Capability::Fencing)
            .with(Capability::Linearizable)
            .with(Capability::FairLocks)
            .with(Capability::WatchFromRevision)
            .with(Capability::ConfigTransactions)
    }

    pub(crate) const fn limits() -> Limits {
        // The server takes requests of 1.5 MiB, with keys, values and frames in them. Its shortest lease is one and a half times its
        // election timeout, and it looks for expired ones twice a second.
        Limits::DEFAULT
            .with_ttl(
                Duration::from_secs(2),
                Duration::from_secs(366 * 24 * 3600),
                Duration::from_secs(2),
            )
            .with_max_transaction_writes(128)
    }
}

/// The port that clients connect to where the URL names none.
pub(crate) const PORT: u16 = 2379;

impl Validate for EtcdConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            !self.endpoints.is_empty(),
            "url",
            "names no endpoint; write etcd://host:2379",
        );
        problems.ensure(
            !self.key_prefix.is_empty() && self.key_prefix.len() <= 256,
            "key_prefix",
            "must have 1 to 256 bytes, so that other users of the cluster keep apart",
        );
        problems.within("tls", |problems| self.tls.validate(problems));
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("keep_alive_interval", self.keep_alive_interval),
            ("keep_alive_timeout", self.keep_alive_timeout),
        ] {
            problems.ensure(!value.is_zero(), name, "must not be zero");
        }
        problems.ensure(
            self.watch_buffer > 0,
            "watch_buffer",
            "is 0; allow at least one event",
        );
        problems.accept("instance_id_ttl", Self::limits().check_ttl(self.instance_id_ttl));
    }
}
