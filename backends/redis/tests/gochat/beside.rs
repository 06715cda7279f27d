//! Both sides of a test: our cache, and the driver itself.

use infra_core::assembly::BackendOptions;
use infra_core::config::{BackendUrl, Compat};
use infra_redis::redis::Client;
use infra_redis::redis::aio::MultiplexedConnection;
use infra_redis::{RedisCache, RedisConfig};
use infra_testkit::{servers, unique};

/// Our cache, the other side, and the prefix of both, without its colon; nothing where the server is missing.
pub(crate) async fn beside_gochat(subject: &str) -> Option<(RedisCache, MultiplexedConnection, String)> {
    let url = servers::require("redis")?;
    let prefix = unique(&format!("gochat-{subject}"));
    let mut config = RedisConfig::development()
        .with_compat(Compat::GoChat)
        .with_key_prefix(&prefix);
    config.take_url(&BackendUrl::parse(&url).unwrap()).unwrap();
    let ours = RedisCache::connect(config).await.expect("connected");
    let theirs = Client::open(url).unwrap();
    let theirs = theirs.get_multiplexed_async_connection().await.unwrap();
    Some((ours, theirs, prefix))
}
