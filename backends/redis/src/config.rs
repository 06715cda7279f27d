//! Where Redis is, how patient its clients are, and what they accept; plain data.

use std::time::Duration;

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::{Compat, Host, Problems, Secret, TlsConfig, Validate, humane};
use serde::{Deserialize, Serialize};

use crate::two_tier::TwoTierConfig;

/// The port that clients connect to where the URL names none.
pub(crate) const PORT: u16 = 6379;
/// The port of sentinels where the URL names none.
pub(crate) const SENTINEL_PORT: u16 = 26379;

/// The largest string that Redis itself takes, unless its `proto-max-bulk-len` says otherwise.
const LARGEST_STRING: usize = 512 << 20;

/// How the servers belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topology {
    /// One server: `redis://host:6379/0`.
    #[default]
    Single,
    /// A cluster, of which any nodes are named: `redis://one:6379,two:6379,three:6379`, or `redis://one:6379?cluster=true`.
    Cluster,
    /// The master of this name, for which the hosts, which are sentinels, are asked: `redis://one:26379,two:26379?sentinel=mymaster`.
    Sentinel {
        /// The name under which the sentinels watch it.
        master: String,
    },
}

/// How a process uses Redis.
///
/// The URL names the hosts, the user and the database: `redis://user:password@cache:6379/0`; see [`Topology`] for clusters and
/// sentinels. What stands below stands beside it.
///
/// ```
/// use std::time::Duration;
/// use infra_core::config::Validate;
/// use infra_redis::RedisConfig;
///
/// let config = RedisConfig::production().with_key_prefix("im:").with_request_timeout(Duration::from_secs(1));
/// assert!(config.check().is_ok());
///
/// let error = RedisConfig::development().with_request_timeout(Duration::ZERO).check().unwrap_err();
/// assert!(error.message().contains("request_timeout"));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RedisConfig {
    /// The hosts, from the URL; one that answers is enough to start.
    #[serde(skip)]
    pub hosts: Vec<Host>,
    /// How they belong together, from the URL.
    #[serde(skip)]
    pub topology: Topology,
    /// The user of Redis's access control lists, from the URL. Default: the server's default user.
    #[serde(skip)]
    pub user: Option<String>,
    /// The password, from the URL.
    #[serde(skip)]
    pub password: Option<Secret<String>>,
    /// The number of the database, from the URL. Default: 0.
    #[serde(skip)]
    pub database: i64,
    /// Where to connect to the nodes of a cluster instead of where they say that they are, for clusters behind address translation.
    #[serde(skip)]
    pub node_addresses: Vec<(Host, Host)>,
    /// Speaks TLS, or not at all where there is this: `tls = { ca_file = "ca.pem" }`. Default: no TLS.
    pub tls: Option<TlsConfig>,
    /// What every key begins with. Default: `dev:` in development, `gochat:` in production.
    pub key_prefix: String,
    /// Whose keys and values: our own, or those of GoChat's im-infra. Default: our own.
    pub compat: Compat,
    /// How long connecting may take. Default: 5 s in development, 10 s in production.
    #[serde(with = "humane")]
    pub connect_timeout: Duration,
    /// How long one operation may take, its repetitions and reconnecting included. Default: 3 s in development, 5 s in production.
    #[serde(with = "humane")]
    pub request_timeout: Duration,
    /// How often an operation is repeated that failed without an effect, or whose reply was lost if doing it twice is the same as
    /// once. Default: 1 in development, 3 in production.
    pub retries: u32,
    /// The pause before the first repetition or reconnection; it doubles with each one. Default: 8 ms.
    #[serde(with = "humane")]
    pub first_pause: Duration,
    /// The longest pause. Default: 512 ms.
    #[serde(with = "humane")]
    pub longest_pause: Duration,
    /// Whether reads that concurrent tasks ask for at the same time travel as one command. A key that holds another type than a string
    /// may then read as absent instead of as a conflict, as with Redis's `MGET`. Default: no.
    pub coalesce_reads: bool,
    /// Keeps values in this process too, in front of Redis. Default: no.
    pub two_tier: Option<TwoTierConfig>,
    /// The longest key in bytes, the prefix not counted. Default: 1024.
    pub max_key_bytes: usize,
    /// The largest value, field or member in bytes, at most 512 MiB. Default: 1 MiB.
    pub max_value_bytes: usize,
}

impl Default for RedisConfig {
    /// The same as [`RedisConfig::development`].
    fn default() -> Self {
        Self::development()
    }
}

impl RedisConfig {
    /// One server on this machine.
    #[must_use]
    pub fn development() -> Self {
        Self {
            hosts: vec![Host::new("localhost", Some(PORT))],
            topology: Topology::Single,
            user: None,
            password: None,
            database: 0,
            node_addresses: Vec::new(),
            tls: None,
            key_prefix: "dev:".to_owned(),
            compat: Compat::Native,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(3),
            retries: 1,
            first_pause: Duration::from_millis(8),
            longest_pause: Duration::from_millis(512),
            coalesce_reads: false,
            two_tier: None,
            max_key_bytes: Limits::DEFAULT.max_key_bytes,
            max_value_bytes: Limits::DEFAULT.max_value_bytes,
        }
    }

    /// A server of its own, and more patience.
    #[must_use]
    pub fn production() -> Self {
        Self {
            hosts: vec![Host::new("redis", Some(PORT))],
            key_prefix: "gochat:".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(5),
            retries: 3,
            ..Self::development()
        }
    }

    /// The same with other hosts that belong together in this way.
    #[must_use]
    pub fn with_hosts(mut self, hosts: impl IntoIterator<Item = Host>, topology: Topology) -> Self {
        self.hosts = hosts.into_iter().collect();
        self.topology = topology;
        self
    }

    /// The same, connecting to nodes of a cluster at other addresses: pairs of what a node says and where it can be reached.
    #[must_use]
    pub fn with_node_addresses(mut self, addresses: impl IntoIterator<Item = (Host, Host)>) -> Self {
        self.node_addresses = addresses.into_iter().collect();
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

    /// The same with another bound for each operation.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// The same with another number of repetitions.
    #[must_use]
    pub fn with_retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The same, with concurrent reads travelling as one command or not.
    #[must_use]
    pub fn with_coalesced_reads(mut self, coalesce: bool) -> Self {
        self.coalesce_reads = coalesce;
        self
    }

    /// The same, keeping values in this process too.
    #[must_use]
    pub fn with_two_tier(mut self, two_tier: TwoTierConfig) -> Self {
        self.two_tier = Some(two_tier);
        self
    }

    /// The same with another largest value.
    #[must_use]
    pub fn with_max_value_bytes(mut self, bytes: usize) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// What a client with this configuration declares.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        let declared = Capabilities::new(self.limits())
            .with(Capability::Durable)
            .with(Capability::Fencing)
            .with(Capability::RawScripts);
        match self.topology {
            Topology::Cluster => declared,
            Topology::Single | Topology::Sentinel { .. } => declared.with(Capability::AtomicAcrossKeys),
        }
    }

    fn limits(&self) -> Limits {
        let ttl = Limits::DEFAULT;
        // Redis looks at the deadline whenever a key is asked for, on its own clock, which ticks in milliseconds.
        Limits::DEFAULT
            .with_max_key_bytes(self.max_key_bytes)
            .with_max_value_bytes(self.max_value_bytes)
            .with_ttl(ttl.min_ttl, ttl.max_ttl, Duration::from_millis(2))
    }

    /// Whether a client with this configuration may use the connection of one with `other`.
    pub(crate) fn shares_connection_with(&self, other: &Self) -> bool {
        let connection = |config: &Self| Self {
            key_prefix: String::new(),
            compat: Compat::Native,
            coalesce_reads: false,
            two_tier: None,
            max_key_bytes: 0,
            max_value_bytes: 0,
            ..config.clone()
        };
        connection(self) == connection(other)
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.topology == Topology::Cluster
    }
}

impl Validate for RedisConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            !self.hosts.is_empty(),
            "url",
            "names no host; write redis://host:6379",
        );
        problems.ensure(
            !self.is_cluster() || self.database == 0,
            "url",
            "names a database, and a cluster has none; leave it out",
        );
        problems.ensure(
            self.hosts.len() <= 1 || self.topology != Topology::Single,
            "url",
            "names several hosts of one server; say `cluster=true` or `sentinel=…`",
        );
        problems.ensure(
            self.key_prefix.len() <= 256,
            "key_prefix",
            "must not be above 256 bytes",
        );
        problems.within("tls", |problems| {
            self.tls.validate(problems);
            let named = self.tls.as_ref().and_then(|tls| tls.server_name.as_ref());
            problems.ensure(
                named.is_none() || !self.is_cluster(),
                "server_name",
                "is one name, and a cluster has many servers; leave it out, and announce names that the certificates bear",
            );
        });
        problems.within("two_tier", |problems| self.two_tier.validate(problems));
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
            ("first_pause", self.first_pause),
        ] {
            problems.ensure(!value.is_zero(), name, "must not be zero");
        }
        problems.ensure(
            self.longest_pause >= self.first_pause,
            "longest_pause",
            "must not be below `first_pause`",
        );
        problems.ensure(self.max_key_bytes > 0, "max_key_bytes", "must be at least 1");
        problems.ensure(
            self.max_value_bytes <= LARGEST_STRING,
            "max_value_bytes",
            "must not be above 512 MiB, the most that Redis takes",
        );
    }
}
