//! The secure server as tests reach it.

use std::time::Duration;

use infra_core::Result;
use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Host, TlsConfig};
use infra_etcd::EtcdConfig;
use infra_testkit::servers;

/// What must never be seen.
pub(crate) const PASSWORD: &str = "staple@battery/7";

/// Another variable of the server: a URL, a file.
pub(crate) fn detail(what: &str) -> String {
    servers::detail("etcd-secure", what).unwrap()
}

/// The configuration for this URL, with keys where the ordinary user may write.
pub(crate) fn config(url: &str, namespace: &str) -> Result<EtcdConfig> {
    let mut config = EtcdConfig::development();
    config.take_url(&BackendUrl::parse(url)?)?;
    Ok(config
        .with_key_prefix(format!("infra/{namespace}/"))
        .with_instance_ids(Duration::from_secs(2), Duration::from_secs(2)))
}

/// An ordinary user who trusts the right authority; `None` where there is no server.
pub(crate) fn secure(namespace: &str) -> Option<EtcdConfig> {
    servers::require("etcd-secure")?;
    Some(user(namespace).unwrap())
}

/// The same; an error that says which server is missing.
pub(crate) fn user(namespace: &str) -> Result<EtcdConfig> {
    Ok(config(&servers::url("etcd-secure")?, namespace)?.with_tls(authority("CA")))
}

/// TLS that trusts this authority alone.
pub(crate) fn authority(which: &str) -> TlsConfig {
    TlsConfig::new().with_ca_file(detail(which))
}

/// The address of a configuration's only endpoint.
pub(crate) fn address(config: &EtcdConfig) -> String {
    config.endpoints[0].or_port(2379)
}

/// The same through a proxy.
pub(crate) fn through(config: EtcdConfig, proxy: &infra_testkit::tcp_proxy::TcpProxy) -> EtcdConfig {
    let address = proxy.address();
    config.with_endpoints([Host::new(address.ip().to_string(), Some(address.port()))])
}
