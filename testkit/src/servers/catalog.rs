//! The names of the servers, and of the environment variables that hold their URLs.

/// Every server that the command knows, by the name that it has on the command line.
pub const NAMES: [&str; 11] = [
    "redis",
    "redis-cluster",
    "etcd",
    "etcd-cluster",
    "consul",
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
    format!("INFRA_{}_URL", name.to_ascii_uppercase().replace('-', "_"))
}
