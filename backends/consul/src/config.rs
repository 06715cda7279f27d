//! Where the agents are, and how patient their clients are.

use std::time::Duration;

use infra_core::capability::{Capabilities, Capability, Limits};
use infra_core::config::{Host, Problems, Secret, TlsConfig, Validate, humane};
use serde::{Deserialize, Serialize};

/// How a process uses Consul.
///
/// The URL names agents or servers and the ACL token: `consul://:token@one:8500,two:8500`; what stands below stands beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ConsulConfig {
    /// The agents, from the URL; one that answers is enough to start. The first one is used until it fails.
    #[serde(skip)]
    pub hosts: Vec<Host>,
    /// The ACL token, from the URL.
    #[serde(skip)]
    pub token: Option<Secret<String>>,
    /// Speaks TLS, or not at all where there is this: `tls = { ca_file = "ca.pem" }`. Default: no TLS.
    pub tls: Option<TlsConfig>,
    /// What every key begins with: letters, digits, `-`, `_` and `.` between slashes, with one at the end. Default: `infra/`.
    pub key_prefix: String,
    /// How long connecting may take. Default: 5 s in development, 10 s in production.
    #[serde(with = "humane")]
    pub connect_timeout: Duration,
    /// How long one request may take, all agents that are tried for it together. Default: 5 s.
    #[serde(with = "humane")]
    pub request_timeout: Duration,
    /// How long an agent holds the question whether something has changed, if nothing has. Default: 30 s.
    #[serde(with = "humane")]
    pub watch_wait: Duration,
    /// How many connections may wait for changes, one for each watch and for each wait for a lock. The watches of single keys beyond
    /// share up to 16 more, one for each folder; all others beyond ask again every 300 to 500 ms. Consul takes 200 connections from one address, unless its `limits` say otherwise. Default: 64.
    pub watch_connections: usize,
    /// How many events of a watch wait for a slow reader. Default: 1,024.
    pub watch_buffer: usize,
    /// How long an instance id stays with its holder without a renewal. Default: 30 s.
    #[serde(with = "humane")]
    pub instance_id_ttl: Duration,
    /// How long, at least, an instance id is not handed out again after it was given back or lost. Consul makes 10 s of less.
    /// Default: 10 s.
    #[serde(with = "humane")]
    pub instance_id_quarantine: Duration,
}

impl Default for ConsulConfig {
    /// The same as [`ConsulConfig::development`].
    fn default() -> Self {
        Self::development()
    }
}

/// The shortest and the longest life of a session without a renewal that Consul grants.
const SESSION: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(86_400));

impl ConsulConfig {
    /// The agent on this machine.
    #[must_use]
    pub fn development() -> Self {
        Self {
            hosts: vec![Host::new("localhost", Some(PORT))],
            token: None,
            tls: None,
            key_prefix: "infra/".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            watch_wait: Duration::from_secs(30),
            watch_connections: 64,
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

    /// The same with other agents.
    #[must_use]
    pub fn with_hosts(mut self, hosts: impl IntoIterator<Item = Host>) -> Self {
        self.hosts = hosts.into_iter().collect();
        self
    }

    /// The same with an ACL token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<Secret<String>>) -> Self {
        self.token = Some(token.into());
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

    /// The same with another bound for each request.
    #[must_use]
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// The same with another patience of agents, and room for so many events that were not read.
    #[must_use]
    pub fn with_watches(mut self, wait: Duration, buffer: usize) -> Self {
        self.watch_wait = wait;
        self.watch_buffer = buffer;
        self
    }

    /// The same with another bound for the connections that wait for changes.
    #[must_use]
    pub fn with_watch_connections(mut self, connections: usize) -> Self {
        self.watch_connections = connections;
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
    ///
    /// Not [`WatchFromRevision`](Capability::WatchFromRevision), since Consul keeps no history. How soon a watch is told depends on how
    /// many there are: see [`watch_connections`](Self::watch_connections).
    #[must_use]
    pub fn capabilities() -> Capabilities {
        Capabilities::new(Self::limits())
            .with(Capability::Durable)
            .with(Capability::Fencing)
            .with(Capability::Linearizable)
            .with(Capability::FairLocks)
            .with(Capability::ConfigTransactions)
            .with(Capability::HealthChecks)
    }

    /// How long the session lives that keeps an instance id taken after it was given back.
    pub(crate) fn rest(&self) -> Duration {
        self.instance_id_quarantine.max(SESSION.0)
    }

    pub(crate) const fn limits() -> Limits {
        Limits::DEFAULT
            .with_max_value_bytes(MAX_VALUE)
            .with_max_transaction_writes(MAX_OPERATIONS)
            // Consul ends a session when twice its time to live has passed; of the shortest ones that is so much too late.
            .with_ttl(SESSION.0, SESSION.1, SESSION.0)
    }
}

/// The port that clients connect to where the URL names none.
pub(crate) const PORT: u16 = 8500;

/// Consul takes transactions of 512 KiB, in which a value has four bytes for three of its own, and has its key beside it.
const MAX_VALUE: usize = 375 * 1024;

/// So many operations fit a transaction of Consul.
pub(crate) const MAX_OPERATIONS: usize = 64;

impl Validate for ConsulConfig {
    fn validate(&self, problems: &mut Problems) {
        problems.ensure(
            !self.hosts.is_empty(),
            "url",
            "names no agent; write consul://host:8500",
        );
        problems.ensure(
            self.token.as_ref().is_none_or(|token| {
                !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic())
            }),
            "url",
            "has a token that no ACL token can be; give one without spaces, or none",
        );
        problems.ensure(
            is_folder(&self.key_prefix),
            "key_prefix",
            "must have 2 to 256 letters, digits, `-`, `_` and `.` between single slashes and end with one, as in `infra/`",
        );
        problems.within("tls", |problems| self.tls.validate(problems));
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("request_timeout", self.request_timeout),
        ] {
            problems.ensure(!value.is_zero(), name, "must not be zero");
        }
        problems.ensure(
            (Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.watch_wait),
            "watch_wait",
            "must be from 1 s to 10 min, as Consul has it",
        );
        problems.ensure(
            (1..=10_000).contains(&self.watch_connections),
            "watch_connections",
            "must be from 1 to 10,000",
        );
        problems.ensure(
            self.watch_buffer > 0,
            "watch_buffer",
            "is 0; allow at least one event",
        );
        let limits = Self::limits();
        problems.accept("instance_id_ttl", limits.check_ttl(self.instance_id_ttl));
        problems.accept(
            "instance_id_ttl",
            limits.check_ttl(self.instance_id_ttl.saturating_add(self.instance_id_quarantine)),
        );
    }
}

/// Whether a text can be the beginning of keys: nothing in it is escaped or normalised on the way.
fn is_folder(prefix: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let parts = || prefix.trim_end_matches('/').split('/');
    (2..=256).contains(&prefix.len())
        && prefix.ends_with('/')
        && prefix.bytes().all(plain)
        && !prefix.contains("//")
        && parts().all(|part| !part.is_empty() && part != "." && part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_folder() {
        for (prefix, good) in [
            ("infra/", true),
            ("team/app-1_x.y/", true),
            ("infra", false),
            ("/", false),
            ("/a/", false),
            ("a//", false),
            ("a/../b/", false),
            ("./", false),
            ("a b/", false),
            ("ä/", false),
            ("", false),
        ] {
            assert_eq!(is_folder(prefix), good, "{prefix:?}");
        }
    }

    #[test]
    fn every_problem_is_told_and_no_token() {
        let config = ConsulConfig::development()
            .with_token("hunter 2")
            .with_key_prefix("..")
            .with_watches(Duration::ZERO, 0)
            .with_request_timeout(Duration::ZERO)
            .with_instance_ids(Duration::ZERO, Duration::ZERO);
        let error = config.check().expect_err("all of it is wrong");
        let said = format!("{error} {error:?} {config:?}");
        for part in [
            "url",
            "key_prefix",
            "watch_wait",
            "watch_buffer",
            "request_timeout",
            "instance_id_ttl",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert!(!said.contains("hunter"), "{said}");
        assert!(ConsulConfig::production().check().is_ok());
    }
}
