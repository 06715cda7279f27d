//! Servers of a test's own, proxies in front of them, and what can be done to both.

use std::sync::Arc;
use std::time::Duration;

use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Host};
use infra_redis::redis::{self, Client, Value};
use infra_redis::{RedisCache, RedisConfig};
use infra_testkit::campaigns::Fault;
use infra_testkit::servers::{self, Set, Up};
use infra_testkit::tcp_proxy::{Cut, TcpProxy};

/// How long a killed or frozen server stays so.
const OUTAGE: Duration = Duration::from_secs(1);

/// The configuration for this URL.
pub(crate) fn config(url: &str) -> RedisConfig {
    let mut config = RedisConfig::development();
    config.take_url(&BackendUrl::parse(url).unwrap()).unwrap();
    config.with_request_timeout(Duration::from_secs(2))
}

/// A server of the test's own, ended with it.
pub(crate) struct Own {
    set: Set,
    pub(crate) config: RedisConfig,
    name: &'static str,
    _folder: tempfile::TempDir,
}

impl Own {
    /// Starts it; `None`, and the test listed as skipped, where the shared one of this name is missing as well.
    pub(crate) async fn start(name: &'static str) -> Option<Self> {
        servers::require(name)?;
        let folder = tempfile::tempdir().unwrap();
        let set = Set::at(folder.path());
        let starting = set.clone();
        let up = move || starting.up(&Up::new([name]).with_install(false), &|_| ());
        tokio::task::spawn_blocking(up).await.unwrap().unwrap();
        let variables = set.variables().unwrap();
        let (_, url) = variables
            .first()
            .unwrap_or_else(|| panic!("{name} did not start"));
        Some(Self {
            config: config(url),
            set,
            name,
            _folder: folder,
        })
    }

    /// Ways to the server that can be broken apart from others.
    pub(crate) fn ways(&self) -> Ways {
        let nodes = self.config.hosts.iter();
        let proxies: Vec<_> = nodes
            .map(|node| (node.clone(), Arc::new(TcpProxy::start(node).unwrap())))
            .collect();
        let addresses = proxies.iter().map(|(node, proxy)| {
            let address = proxy.address();
            let reachable = Host::new(address.ip().to_string(), Some(address.port()));
            (node.clone(), reachable)
        });
        let addresses: Vec<_> = addresses.collect();
        let reachable = addresses.iter().map(|(_, reachable)| reachable.clone());
        let config = self
            .config
            .clone()
            .with_hosts(reachable, self.config.topology.clone());
        Ways {
            proxies: proxies.into_iter().map(|(_, proxy)| proxy).collect(),
            config: config.with_node_addresses(addresses),
        }
    }

    /// A node, counted from 1, is killed, and started again with its data.
    pub(crate) fn kill(&self, node: usize) -> Fault {
        let (control, again) = (self.control(node), self.control(node));
        Fault::new(
            format!("node {node} is killed"),
            OUTAGE,
            move || act(&control, |control| async move { control.kill().await }),
            move || act(&again, |control| async move { control.start().await }),
        )
    }

    /// A node, counted from 1, is frozen for so long: its connections stay open and nothing answers.
    pub(crate) fn freeze(&self, node: usize, lasts: Duration) -> Fault {
        let (control, again) = (self.control(node), self.control(node));
        Fault::new(
            format!("node {node} is frozen for {lasts:?}"),
            lasts,
            move || act(&control, |control| async move { control.pause().await }),
            move || act(&again, |control| async move { control.resume().await }),
        )
    }

    /// How much memory the server may use, in bytes; 0 for any.
    pub(crate) async fn limit_memory(&self, bytes: u64) {
        let client = Client::open(format!("redis://{}", self.config.hosts[0])).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        let _: Value = set.query_async(&mut connection).await.unwrap();
    }

    /// The whole server is killed and comes back without its data.
    pub(crate) async fn forget(&self) {
        self.set.control(self.name).reset().await.unwrap();
    }

    fn control(&self, node: usize) -> servers::Control {
        if self.config.hosts.len() == 1 {
            self.set.control(self.name)
        } else {
            self.set.control(&format!("{}/{node}", self.name))
        }
    }
}

/// A future that owns its handle.
fn act<R>(control: &servers::Control, act: impl FnOnce(servers::Control) -> R) -> R {
    act(control.clone())
}

impl Drop for Own {
    fn drop(&mut self) {
        let down = self.set.down(&|_| ());
        assert!(down.is_ok() || std::thread::panicking(), "{down:?}");
    }
}

/// Proxies in front of every node.
#[derive(Clone)]
pub(crate) struct Ways {
    proxies: Vec<Arc<TcpProxy>>,
    config: RedisConfig,
}

impl Ways {
    pub(crate) async fn connect(&self) -> RedisCache {
        RedisCache::connect(self.config.clone()).await.unwrap()
    }

    /// These ways and others.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            proxies: self.proxies.iter().chain(&other.proxies).cloned().collect(),
            config: self.config.clone(),
        }
    }

    /// Nothing goes through and nothing breaks for a while, as behind a firewall that drops packets.
    pub(crate) fn partition(&self, name: &str, lasts: Duration) -> Fault {
        let (stalled, healed) = (self.clone(), self.clone());
        Fault::new(
            name,
            lasts,
            move || {
                stalled.proxies.iter().for_each(|proxy| proxy.both().stall());
                async { Ok::<(), String>(()) }
            },
            move || {
                let heal = |proxy: &Arc<TcpProxy>| proxy.heal().map_err(|error| error.to_string());
                let done = healed.proxies.iter().try_for_each(heal);
                async { done }
            },
        )
    }

    /// Every connection on these ways is reset, in the midst of whatever goes on.
    pub(crate) fn reset(&self, name: &str) -> Fault {
        let ways = self.clone();
        Fault::new(
            name,
            Duration::ZERO,
            move || {
                let cut = |proxy: &Arc<TcpProxy>| proxy.cut(Cut::Reset).map_err(|error| error.to_string());
                let done = ways.proxies.iter().try_for_each(cut);
                async { done }
            },
            || async { Ok::<(), String>(()) },
        )
    }
}
