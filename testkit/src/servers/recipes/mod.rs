//! One file for each kind of server: where it comes from, how it is started, how it answers, and what was learnt about it.
//!
//! Times and memory were measured on Debian 12 with two cores. What was tried besides, should a recipe be wanted:
//!
//! - Valkey 8 (bookworm-backports) answers like Redis and knows client tracking; Redis 8 (trixie) has no bloom module in Debian.
//! - etcd 3.5 of trixie runs on bookworm as it is (`Source::Archive`). Three Consul servers need `-bootstrap-expect=3`.
//! - VictoriaMetrics (trixie) takes metrics by OTLP over HTTP and answers PromQL; `promtool` of `prometheus` checks a metrics page.
//! - Faults between this machine and a server, besides pausing and killing: rules of `iptables` on its loopback port (drop, reset,
//!   random loss). `tc netem` is often not in the kernel.

mod consul;
mod consul_secure;
mod etcd;
mod etcd_secure;
mod kafka;
mod mariadb;
mod opensearch;
mod otlp;
mod postgres;
mod rabbitmq;
mod redis;
mod redis_secure;
mod redis_sentinel;

use super::recipe::Recipe;

/// Every recipe, in the order of [`NAMES`](super::NAMES).
pub(super) const ALL: [&dyn Recipe; 16] = [
    &redis::SINGLE,
    &redis::CLUSTER,
    &redis::REPLICAS,
    &redis_sentinel::RedisSentinel,
    &redis_secure::RedisSecure,
    &etcd::SINGLE,
    &etcd::CLUSTER,
    &etcd_secure::EtcdSecure,
    &consul::Consul,
    &consul_secure::ConsulSecure,
    &rabbitmq::RabbitMq,
    &postgres::Postgres,
    &mariadb::MariaDb,
    &kafka::Kafka,
    &opensearch::OpenSearch,
    &otlp::Otlp,
];

/// The user to run as, when the command runs as root and the server must not.
pub(super) fn user_if_root(recipe: &dyn Recipe) -> Option<&'static str> {
    recipe.user().filter(|_| rustix::process::geteuid().is_root())
}
