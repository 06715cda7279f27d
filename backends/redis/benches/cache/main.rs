//! What the contract costs beside the bare driver (`redis`, one multiplexed connection) and beside `fred`, on the same server in one
//! run: `eval "$(cargo servers up redis)" && cargo bench -p infra-redis`. An argument runs what begins with it alone.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program for people to read"
)]

mod allocations;
mod built;
mod load;
mod near;
mod strings;

use std::sync::Arc;

use infra_core::assembly::BackendOptions;
use infra_core::cache::KeyValue;
use infra_core::config::BackendUrl;
use infra_redis::redis::aio::MultiplexedConnection;
use infra_redis::redis::{AsyncConnectionConfig, Client};
use infra_redis::{RedisCache, RedisConfig};

/// All clients, of one server.
pub(crate) struct Clients {
    pub(crate) config: RedisConfig,
    pub(crate) bare: MultiplexedConnection,
    pub(crate) fred: fred::clients::Client,
    pub(crate) ours: RedisCache,
}

impl Clients {
    async fn connect(url: &str) -> Self {
        use fred::interfaces::ClientLike;

        let mut config = RedisConfig::production().with_key_prefix(format!("bench-{}:", std::process::id()));
        config
            .take_url(&BackendUrl::parse(url).expect("a URL"))
            .expect("a URL of Redis");
        let best = AsyncConnectionConfig::new().set_pipeline_buffer_size(1024);
        let client = Client::open(format!("{url}/?protocol=resp3")).expect("a URL");
        let fred =
            fred::types::Builder::from_config(fred::types::config::Config::from_url(url).expect("a URL"))
                .build()
                .expect("a client");
        fred.init().await.expect("connected");
        Self {
            bare: client
                .get_multiplexed_async_connection_with_config(&best)
                .await
                .expect("connected"),
            ours: RedisCache::connect(config.clone()).await.expect("connected"),
            config,
            fred,
        }
    }

    /// A key as the bare clients name it.
    pub(crate) fn place(&self, key: &str) -> String {
        format!("{}{key}", self.config.key_prefix)
    }

    /// Our client as services have it.
    pub(crate) fn shared(&self) -> Arc<dyn KeyValue> {
        Arc::new(self.ours.clone())
    }
}

#[tokio::main]
async fn main() {
    let Ok(url) = std::env::var("INFRA_REDIS_URL") else {
        println!("skipped: no INFRA_REDIS_URL; eval \"$(cargo servers up redis)\"");
        return;
    };
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let wants = |name: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| name.starts_with(wanted.as_str()))
    };
    let clients = Clients::connect(&url).await;
    if wants("strings") {
        strings::run(&clients).await;
    }
    if wants("coalesced") {
        strings::run_coalesced(&clients).await;
    }
    if wants("allocations") {
        allocations::run(url.clone());
    }
    if wants("built") {
        built::run(&clients).await;
    }
    if wants("near") {
        near::run(&clients).await;
    }
    use infra_core::cache::Keys;
    clients.ours.delete_prefix("b").await.expect("cleaned up");
}
