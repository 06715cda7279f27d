//! The names of the servers, and of the environment variables that hold their URLs.

/// Every server that the command knows, by the name that it has on the command line.
pub const NAMES: [&str; 16] = [
    "redis",
    "redis-cluster",
    "redis-replicas",
    "redis-sentinel",
    "redis-secure",
    "etcd",
    "etcd-cluster",
    "etcd-secure",
    "consul",
    "consul-secure",
    "rabbitmq",
    "postgres",
    "mariadb",
    "kafka",
    "opensearch",
    "otlp",
];

/// The environment variable that holds the URL of the server of this name.
///
/// ```
/// assert_eq!(infra_testkit::servers::variable("redis-cluster"), "INFRA_REDIS_CLUSTER_URL");
/// ```
pub fn variable(name: &str) -> String {
    detail(name, "URL")
}

/// The environment variable that holds something else of a server than its URL: `INFRA_ETCD_SECURE_CA`.
pub(super) fn detail(name: &str, what: &str) -> String {
    format!("INFRA_{}_{what}", name.to_ascii_uppercase().replace('-', "_"))
}
