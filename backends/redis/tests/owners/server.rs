//! One server, looked at from the side.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Host};
use infra_redis::redis::aio::MultiplexedConnection;
use infra_redis::redis::{self, Client, Cmd, Value};
use infra_redis::{RedisConfig, Topology};
use infra_testkit::tcp_proxy::TcpProxy;
use infra_testkit::{servers, unique};

/// Longer than any test waits, and far longer than it must.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// A server, and a place of this test's own on it.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) prefix: String,
}

impl Server {
    /// `None`, and the test listed as skipped, where there is none.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Some(Self {
            url: servers::require("redis")?,
            prefix: format!("{}:", unique(name)),
        })
    }

    pub(crate) fn config(&self) -> RedisConfig {
        let mut config = RedisConfig::development();
        config.take_url(&BackendUrl::parse(&self.url).unwrap()).unwrap();
        config.with_key_prefix(&self.prefix)
    }

    /// A way of its own, which can be disturbed.
    pub(crate) fn behind_proxy(&self) -> (RedisConfig, TcpProxy) {
        let config = self.config();
        let proxy = TcpProxy::start(&config.hosts[0]).unwrap();
        let address = proxy.address();
        let host = Host::new(address.ip().to_string(), Some(address.port()));
        (config.with_hosts([host], Topology::Single), proxy)
    }

    /// The driver itself.
    pub(crate) async fn native(&self) -> MultiplexedConnection {
        let client = Client::open(self.url.as_str()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) async fn run(&self, command: &Cmd) -> Value {
        command.query_async(&mut self.native().await).await.unwrap()
    }

    /// Sees whatever is sent to the server about this test's keys.
    pub(crate) async fn watch(&self) -> Watched {
        let client = Client::open(self.url.as_str()).unwrap();
        let monitor = client.get_async_monitor().await.unwrap();
        Watched {
            native: self.native().await,
            lines: Box::pin(monitor.into_on_message()),
            prefix: self.prefix.clone(),
        }
    }
}

/// What was sent to a server.
pub(crate) struct Watched {
    native: MultiplexedConnection,
    lines: Pin<Box<dyn Stream<Item = String> + Send>>,
    prefix: String,
}

impl Watched {
    /// The commands about this test's keys since this was asked last, without those that scripts ran.
    pub(crate) async fn commands(&mut self) -> Vec<String> {
        let mark = unique("mark");
        let echo = redis::cmd("ECHO").arg(&mark).to_owned();
        let _: Value = echo.query_async(&mut self.native).await.unwrap();
        let mut seen = Vec::new();
        loop {
            let line = self.lines.next().await.expect("the monitor goes on");
            if line.contains(&mark) {
                return seen;
            }
            if line.contains(&self.prefix) && !line.contains(" lua] ") {
                seen.push(line);
            }
        }
    }

    /// How many of them are calls of scripts.
    pub(crate) async fn calls(&mut self) -> usize {
        let commands = self.commands().await;
        let calls = commands.iter().filter(|line| line.contains("\"EVAL"));
        calls.count()
    }
}
