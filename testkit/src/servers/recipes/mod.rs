//! One file for each kind of server: where it comes from, how it is started, how it answers, and what was learnt about it.

mod consul;
mod etcd;
mod kafka;
mod mariadb;
mod opensearch;
mod otlp;
mod postgres;
mod rabbitmq;
mod redis;

use super::recipe::Recipe;

/// Every recipe, in the order of [`NAMES`](super::NAMES).
pub(super) const ALL: [&dyn Recipe; 11] = [
    &redis::SINGLE,
    &redis::CLUSTER,
    &etcd::SINGLE,
    &etcd::CLUSTER,
    &consul::Consul,
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
