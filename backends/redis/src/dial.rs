//! How a connection is made: to one server, or to the master that sentinels name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use infra_core::config::Host;
use infra_core::{Error, ErrorKind, Result};
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::cluster::{ClusterClient, NodeAddress};
use redis::cluster_async::ClusterConnection;
use redis::io::AsyncDNSResolver;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError, RedisFuture, TlsCertificates, TlsMode,
};

use crate::config::{PORT, RedisConfig, SENTINEL_PORT, Topology};
use crate::{error, tls};

/// How many commands of concurrent tasks wait in the driver for their turn to be written, before further tasks wait for room.
const WRITE_QUEUE: usize = 1024;

/// Makes connections; the files of TLS are read once.
pub(crate) struct Dialer {
    config: RedisConfig,
    certificates: Option<TlsCertificates>,
}

impl Dialer {
    pub(crate) fn new(config: RedisConfig) -> Result<Self> {
        let certificates = config.tls.as_ref().map(tls::certificates).transpose()?;
        if config.tls.is_none() && config.password.is_some() {
            tracing::warn!("the password for Redis is sent without TLS; configure `tls`");
        }
        Ok(Self { config, certificates })
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// Connects to the server that takes writes. What the server says unasked goes to `pushes`.
    ///
    /// # Errors
    /// With the addresses that were tried, within the time that the configuration allows.
    pub(crate) async fn dial(&self, pushes: Arc<dyn AsyncPushSender>) -> Result<MultiplexedConnection> {
        self.bounded(self.dial_unbounded(pushes)).await
    }

    async fn bounded(
        &self,
        dialing: impl Future<Output = std::result::Result<MultiplexedConnection, RedisError>>,
    ) -> Result<MultiplexedConnection> {
        let timeout = self.config.connect_timeout;
        let failed = match tokio::time::timeout(timeout, dialing).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(source)) => self.failed(source),
            Err(_) => self.no_connection_within(timeout),
        };
        Err(self.connecting(failed))
    }

    /// Connects to this node of a cluster, wherever it is to be reached.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub(crate) async fn dial_node(
        &self,
        node: &Host,
        pushes: Arc<dyn AsyncPushSender>,
    ) -> Result<MultiplexedConnection> {
        let elsewhere = self
            .config
            .node_addresses
            .iter()
            .find(|(announced, _)| announced == node);
        let host = elsewhere.map_or(node, |(_, reachable)| reachable);
        self.bounded(self.dial_host(host, pushes)).await
    }

    async fn dial_unbounded(
        &self,
        pushes: Arc<dyn AsyncPushSender>,
    ) -> std::result::Result<MultiplexedConnection, RedisError> {
        let host = match &self.config.topology {
            Topology::Sentinel { master } => self.master(master).await?,
            Topology::Single | Topology::Cluster => self.any().await?,
        };
        self.dial_host(&host, pushes).await
    }

    async fn dial_host(
        &self,
        host: &Host,
        pushes: Arc<dyn AsyncPushSender>,
    ) -> std::result::Result<MultiplexedConnection, RedisError> {
        let options = AsyncConnectionConfig::new()
            // Both are bounded by whoever asks.
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WRITE_QUEUE)
            .set_push_sender(pushes);
        self.client(self.address(host, PORT))?
            .get_multiplexed_async_connection_with_config(&self.resolving(options, host))
            .await
    }

    /// The first host that takes connections.
    async fn any(&self) -> std::result::Result<Host, RedisError> {
        if let [only] = self.config.hosts.as_slice() {
            return Ok(only.clone());
        }
        let mut last = RedisError::from((redis::ErrorKind::InvalidClientConfig, "no host"));
        for host in &self.config.hosts {
            let reached =
                tokio::net::TcpStream::connect((host.name.as_str(), host.port.unwrap_or(PORT))).await;
            match reached {
                Ok(_) => return Ok(host.clone()),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// The master that the first sentinel to answer names.
    async fn master(&self, name: &str) -> std::result::Result<Host, RedisError> {
        let mut last = RedisError::from((redis::ErrorKind::EmptySentinelList, "no sentinel"));
        for host in &self.config.hosts {
            match self.ask_sentinel(host, name).await {
                Ok(master) => return Ok(master),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(&self, host: &Host, name: &str) -> std::result::Result<Host, RedisError> {
        // A share of the time for each, so that one that does not answer leaves some to the others.
        let share = self.config.connect_timeout / u32::try_from(self.config.hosts.len() + 1).unwrap_or(2);
        let options = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(share))
            .set_response_timeout(Some(share));
        let info = self.address(host, SENTINEL_PORT).into_connection_info()?;
        let client = self.client_of(info)?;
        let mut sentinel = client
            .get_multiplexed_async_connection_with_config(&self.resolving(options, host))
            .await?;
        let answer: Option<(String, u16)> = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(name)
            .query_async(&mut sentinel)
            .await?;
        let (address, port) = answer.ok_or_else(|| {
            RedisError::from((
                redis::ErrorKind::MasterNameNotFoundBySentinel,
                "the sentinel does not know this master",
            ))
        })?;
        Ok(Host::new(address, Some(port)))
    }

    /// Where to connect, under the name that the server's certificate must bear.
    fn address(&self, host: &Host, port: u16) -> ConnectionAddr {
        let name = self.server_name().unwrap_or(&host.name).to_owned();
        let port = host.port.unwrap_or(port);
        match self.certificates {
            None => ConnectionAddr::Tcp(name, port),
            Some(_) => ConnectionAddr::TcpTls {
                host: name,
                port,
                insecure: false,
                tls_params: None,
            },
        }
    }

    fn server_name(&self) -> Option<&str> {
        self.config.tls.as_ref()?.server_name.as_deref()
    }

    /// The driver knows one name for a server: it is told the certificate's, and finds this host under it.
    fn resolving(&self, options: AsyncConnectionConfig, host: &Host) -> AsyncConnectionConfig {
        match self.server_name() {
            None => options,
            Some(_) => options.set_dns_resolver(Elsewhere(host.name.clone())),
        }
    }

    /// A connection to a cluster, which the driver makes to each node as it learns of them.
    pub(crate) async fn dial_cluster(&self) -> Result<ClusterConnection> {
        let config = &self.config;
        let connecting = async {
            let hosts = config.hosts.iter().map(|host| self.address(host, PORT));
            let mut builder = ClusterClient::builder(hosts)
                // Whether to send something again is decided above, where it is known what it does.
                .retries(0)
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(config.connect_timeout)
                .response_timeout(config.request_timeout)
                .overall_response_timeout(None)
                .tcp_settings(self.tcp())
                .node_address_map(node_addresses(config));
            if let Some(user) = &config.user {
                builder = builder.username(user);
            }
            if let Some(password) = &config.password {
                builder = builder.password(password.expose());
            }
            if let Some(certificates) = &self.certificates {
                builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
            }
            builder.build()?.get_async_connection().await
        };
        let timeout = config.connect_timeout;
        let connected = match tokio::time::timeout(timeout, connecting).await {
            Ok(connected) => connected.map_err(|source| error::of(source, true)),
            Err(_) => Err(self.no_connection_within(timeout)),
        };
        connected.map_err(|error| self.connecting(error))
    }

    fn failed(&self, source: RedisError) -> Error {
        let shows_none = self
            .config
            .tls
            .as_ref()
            .is_some_and(|tls| tls.certificate_file.is_none());
        // The server's alert is lost when our first command reaches it after it has gone.
        let may_want_one = shows_none && source.is_connection_dropped() && tls::problem(&source).is_none();
        let error = error::of(source, true);
        if may_want_one {
            error.context(
                "the server ended the connection after the TLS handshake; if it wants a certificate, set `tls.certificate_file` and \
                 `tls.key_file`",
            )
        } else {
            error
        }
    }

    fn no_connection_within(&self, timeout: Duration) -> Error {
        let mut message = format!("no connection within {timeout:?} (`connect_timeout`)");
        if self.certificates.is_some() {
            // A Redis without TLS takes a handshake for the beginning of a long command, and waits for the rest.
            message.push_str(
                "; if something is there, it may not speak TLS on this port. Nothing was sent without TLS",
            );
        }
        Error::new(ErrorKind::Timeout, message).without_effect()
    }

    /// Says where a connection was wanted.
    fn connecting(&self, error: Error) -> Error {
        error.context(format_args!("connecting to Redis at {}", self.shown()))
    }

    fn client(&self, address: ConnectionAddr) -> std::result::Result<Client, RedisError> {
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("infra-redis", env!("CARGO_PKG_VERSION"))
            .set_db(self.config.database);
        if let Some(user) = &self.config.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.config.password {
            login = login.set_password(password.expose());
        }
        let info = address
            .into_connection_info()?
            .set_redis_settings(login)
            .set_tcp_settings(self.tcp());
        self.client_of(info)
    }

    fn client_of(&self, info: ConnectionInfo) -> std::result::Result<Client, RedisError> {
        match &self.certificates {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        }
    }

    /// Small commands leave at once, and a peer that is gone without a word is noticed by the kernel.
    fn tcp(&self) -> TcpSettings {
        let settings = TcpSettings::default().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let settings = settings.set_user_timeout(self.config.request_timeout);
        settings
    }

    fn shown(&self) -> String {
        let hosts: Vec<_> = self.config.hosts.iter().map(|host| host.or_port(PORT)).collect();
        hosts.join(", ")
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Every name leads to this host.
struct Elsewhere(String);

impl AsyncDNSResolver for Elsewhere {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        port: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((self.0.as_str(), port)).await?;
            let addresses: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(found);
            Ok(addresses)
        })
    }
}

/// Where the nodes of a cluster are to be connected to instead of where they say that they are.
fn node_addresses(config: &RedisConfig) -> HashMap<NodeAddress, NodeAddress> {
    let address = |host: &Host| NodeAddress::new(host.name.clone(), host.port.unwrap_or(PORT));
    let pairs = config.node_addresses.iter();
    pairs
        .map(|(announced, reachable)| (address(announced), address(reachable)))
        .collect()
}
