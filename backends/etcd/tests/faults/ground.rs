//! Servers of a test's own, proxies in front of them, and what can be done to both.

use std::sync::Arc;
use std::time::Duration;

use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Host};
use infra_etcd::{EtcdConfig, EtcdCoordinator};
use infra_testkit::campaigns::Fault;
use infra_testkit::servers::{self, Set, Up};
use infra_testkit::tcp_proxy::{Cut, TcpProxy};

/// How long a killed or frozen node stays so: longer than an election takes.
const OUTAGE: Duration = Duration::from_millis(2500);

/// The configuration for this URL.
pub(crate) fn config(url: &str) -> EtcdConfig {
    let mut config = EtcdConfig::development();
    config.take_url(&BackendUrl::parse(url).unwrap()).unwrap();
    config.with_request_timeout(Duration::from_secs(2))
}

/// A server of the test's own, ended with it.
pub(crate) struct Own {
    pub(crate) set: Set,
    pub(crate) config: EtcdConfig,
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

    pub(crate) fn nodes(&self) -> usize {
        self.config.endpoints.len()
    }

    /// Ways to the server that can be broken apart from others.
    pub(crate) fn ways(&self) -> Ways {
        let proxy = |host: &Host| Arc::new(TcpProxy::start(host.or_port(2379)).unwrap());
        let proxies: Vec<_> = self.config.endpoints.iter().map(proxy).collect();
        let hosts = proxies.iter().map(|proxy| {
            let address = proxy.address();
            Host::new(address.ip().to_string(), Some(address.port()))
        });
        let config = self.config.clone().with_endpoints(hosts);
        Ways {
            proxies: Arc::new(proxies),
            config,
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

    /// A node, counted from 1, is frozen: its connections stay open and nothing answers.
    pub(crate) fn freeze(&self, node: usize) -> Fault {
        let (control, again) = (self.control(node), self.control(node));
        Fault::new(
            format!("node {node} is frozen"),
            OUTAGE,
            move || act(&control, |control| async move { control.pause().await }),
            move || act(&again, |control| async move { control.resume().await }),
        )
    }

    /// The whole server is killed and comes back without its data.
    pub(crate) fn forget(&self) -> Fault {
        let control = self.set.control(self.name);
        Fault::new(
            "the server comes back without its data",
            Duration::ZERO,
            move || act(&control, |control| async move { control.reset().await }),
            || async { Ok::<(), String>(()) },
        )
    }

    fn control(&self, node: usize) -> servers::Control {
        if self.nodes() == 1 {
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
    proxies: Arc<Vec<Arc<TcpProxy>>>,
    config: EtcdConfig,
}

impl Ways {
    pub(crate) async fn connect(&self) -> EtcdCoordinator {
        EtcdCoordinator::connect(self.config.clone()).await.unwrap()
    }

    /// These ways and others.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let proxies = self.proxies.iter().chain(&*other.proxies).cloned();
        Self {
            proxies: Arc::new(proxies.collect()),
            config: self.config.clone(),
        }
    }

    /// Another configuration for those who take these ways.
    pub(crate) fn with(mut self, change: impl FnOnce(EtcdConfig) -> EtcdConfig) -> Self {
        self.config = change(self.config);
        self
    }

    /// Nothing goes through and nothing breaks, as behind a firewall that drops packets.
    pub(crate) fn stall(&self) {
        self.proxies.iter().for_each(|proxy| proxy.both().stall());
    }

    pub(crate) fn heal(&self) {
        for proxy in &*self.proxies {
            proxy.heal().unwrap();
        }
    }

    pub(crate) fn reset_now(&self) {
        for proxy in &*self.proxies {
            proxy.cut(Cut::Reset).unwrap();
        }
    }

    /// Those who take these ways reach nobody for a while.
    pub(crate) fn partition(&self, name: &str, lasts: Duration) -> Fault {
        let (stalled, healed) = (self.clone(), self.clone());
        Fault::new(
            name,
            lasts,
            move || {
                stalled.stall();
                async { Ok::<(), String>(()) }
            },
            move || {
                healed.heal();
                async { Ok::<(), String>(()) }
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
                ways.reset_now();
                async { Ok::<(), String>(()) }
            },
            || async { Ok::<(), String>(()) },
        )
    }
}
