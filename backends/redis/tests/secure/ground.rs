//! The secure server as tests reach it.

use infra_core::Result;
use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Host, TlsConfig};
use infra_redis::RedisConfig;
use infra_testkit::servers;
use infra_testkit::tcp_proxy::TcpProxy;

/// What must never be seen.
pub(crate) const PASSWORD: &str = "staple@battery/7";

/// Another variable of the server: a URL, a file.
pub(crate) fn detail(what: &str) -> String {
    servers::detail("redis-secure", what).unwrap()
}

/// The configuration for this URL, with keys where the ordinary user may write.
pub(crate) fn config(url: &str, namespace: &str) -> Result<RedisConfig> {
    let mut config = RedisConfig::development();
    config.take_url(&BackendUrl::parse(url)?)?;
    Ok(config.with_key_prefix(format!("infra:{namespace}:")))
}

/// An ordinary user who trusts the right authority and shows the right certificate; `None` where there is no server.
pub(crate) fn secure(namespace: &str) -> Option<RedisConfig> {
    servers::require("redis-secure")?;
    Some(user(namespace).unwrap())
}

/// The same; an error that says which server is missing.
pub(crate) fn user(namespace: &str) -> Result<RedisConfig> {
    Ok(config(&servers::url("redis-secure")?, namespace)?.with_tls(tls("CA")))
}

/// TLS that trusts this authority alone, with a certificate of our own.
pub(crate) fn tls(authority: &str) -> TlsConfig {
    TlsConfig::new()
        .with_ca_file(detail(authority))
        .with_identity(detail("CERTIFICATE"), detail("KEY"))
}

/// The address of a configuration's only host.
pub(crate) fn address(config: &RedisConfig) -> String {
    config.hosts[0].or_port(6379)
}

/// The same by another address.
pub(crate) fn at(config: RedisConfig, address: std::net::SocketAddr) -> RedisConfig {
    let topology = config.topology.clone();
    config.with_hosts(
        [Host::new(address.ip().to_string(), Some(address.port()))],
        topology,
    )
}

/// The same through a proxy.
pub(crate) fn through(config: RedisConfig, proxy: &TcpProxy) -> RedisConfig {
    at(config, proxy.address())
}
