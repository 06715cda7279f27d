//! The secure server as tests reach it.

use std::time::Duration;

use infra_consul::ConsulConfig;
use infra_core::Result;
use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Host, TlsConfig};
use infra_testkit::servers;
use infra_testkit::tcp_proxy::TcpProxy;

const NAME: &str = "consul-secure";

/// Another variable of the server: a URL, a token, a file.
pub(crate) fn detail(what: &str) -> String {
    servers::detail(NAME, what).unwrap()
}

/// The configuration for this URL, with the ordinary token and keys that it may write.
pub(crate) fn config(url: &str, namespace: &str) -> Result<ConsulConfig> {
    let mut config = ConsulConfig::development();
    config.take_url(&BackendUrl::parse(url)?)?;
    Ok(config
        .with_token(servers::detail(NAME, "TOKEN")?.as_str())
        .with_watches(Duration::from_secs(10), 64)
        .with_key_prefix(format!("infra/{namespace}/")))
}

/// An ordinary client; an error that says which server is missing.
pub(crate) fn user(namespace: &str) -> Result<ConsulConfig> {
    Ok(config(&servers::url(NAME)?, namespace)?.with_tls(authority("CA")))
}

/// The same; `None`, and the test listed as skipped, where there is no server.
pub(crate) fn secure(namespace: &str) -> Option<ConsulConfig> {
    servers::require(NAME)?;
    Some(user(namespace).unwrap())
}

/// TLS that trusts this authority alone, with our own certificate.
pub(crate) fn authority(which: &str) -> TlsConfig {
    TlsConfig::new()
        .with_ca_file(detail(which))
        .with_identity(detail("CERTIFICATE"), detail("KEY"))
}

/// The same through a proxy.
pub(crate) fn through(config: &ConsulConfig) -> (ConsulConfig, TcpProxy) {
    let proxy = TcpProxy::start(config.hosts[0].or_port(8500)).unwrap();
    let address = proxy.address();
    let host = Host::new(address.ip().to_string(), Some(address.port()));
    (config.clone().with_hosts([host]), proxy)
}
