//! Bloom filters: in a string of the server's, as a module keeps them, or as im-infra does.

mod hashes;
mod layout;
mod module;

use async_trait::async_trait;
use infra_core::cache::{Bloom, BloomOptions};
use infra_core::config::Compat;
use infra_core::{Error, ErrorKind, Result};
use redis::Value;

use crate::cache::{RedisCache, run};
use crate::client::{Repeat, unexpected};
use crate::reply;
use crate::script::{Invocation, Script};
use crate::slots::check_one_slot;

pub(crate) use module::Module;

macro_rules! script {
    ($($part:literal),+) => {
        Script::new(concat!($(include_str!($part)),+))
    };
}

static RESERVE: Script = script!("native.lua", "reserve_native.lua");
static ADD: Script = script!("native.lua", "positions.lua", "add.lua");
static CONTAINS: Script = script!("native.lua", "positions.lua", "contains.lua");
static GOCHAT_RESERVE: Script = script!("gochat.lua", "reserve_gochat.lua");
static GOCHAT_ADD: Script = script!("gochat.lua", "positions.lua", "add.lua");
static GOCHAT_CONTAINS: Script = script!("gochat.lua", "positions.lua", "contains.lua");

#[async_trait]
impl Bloom for RedisCache {
    /// The memory of the whole filter is taken now. It is one key, which `delete` and `expire` of keys know; with
    /// [`Compat::GoChat`] two, whose names end with `:bf_meta` and `:bf_bitmap`, and the error rate is not kept.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for a filter above 512 MiB, the most that one key of Redis holds;
    /// [`Conflict`](ErrorKind::Conflict) when something else is under the key.
    async fn bloom_reserve(&self, key: &str, options: BloomOptions) -> Result<()> {
        run("bloom_reserve", async {
            let name = self.key(key)?;
            options.validate()?;
            layout::check_size(&options)?;
            if self.is_gochat() {
                return self.reserve_gochat(key, &name, &options).await;
            }
            if let Some(reserved) = self.module_reserve(key, &name, &options).await? {
                return Ok(reserved);
            }
            let mut reserve = Invocation::of(&RESERVE, &[&name]);
            let head = layout::head_of(&options);
            reserve.arg(&head[..]).arg(layout::last_bit(&options));
            match reply::good(self.client.invoke(&reserve, Repeat::Harmless).await?)? {
                Value::Int(_) => Ok(()),
                Value::BulkString(found) if found == head => Ok(()),
                Value::BulkString(found) => Err(exists(key, layout::options_of(&found))),
                _ => Err(unexpected()),
            }
        })
        .await
    }

    /// When the reply is lost this is [`OutcomeUnknown`](ErrorKind::OutcomeUnknown): asked again, the item would not be new.
    async fn bloom_add(&self, key: &str, item: &[u8]) -> Result<bool> {
        run("bloom_add", async {
            let name = self.key(key)?;
            self.limits().check_value("item", item.len())?;
            if let Some(added) = self.module_add(key, &name, item).await? {
                return Ok(added);
            }
            let reply = self
                .ask_filter(&name, item, &ADD, &GOCHAT_ADD, Repeat::Never)
                .await?;
            match reply::good(reply)? {
                Value::Int(new) => Ok(new == 1),
                Value::Nil => Err(not_reserved(key)),
                _ => Err(unexpected()),
            }
        })
        .await
    }

    async fn bloom_contains(&self, key: &str, item: &[u8]) -> Result<bool> {
        run("bloom_contains", async {
            let name = self.key(key)?;
            if let Some(contains) = self.module_contains(&name, item).await? {
                return Ok(contains);
            }
            let asked = self.ask_filter(&name, item, &CONTAINS, &GOCHAT_CONTAINS, Repeat::Harmless);
            reply::flag(asked.await?)
        })
        .await
    }
}

impl RedisCache {
    fn is_gochat(&self) -> bool {
        self.client.config().compat == Compat::GoChat
    }

    /// Runs a script on the filter and the hashes of the item.
    async fn ask_filter(
        &self,
        name: &str,
        item: &[u8],
        native: &Script,
        gochat: &Script,
        repeat: Repeat,
    ) -> Result<Value> {
        let mut invocation = if self.is_gochat() {
            let keys = self.gochat_keys(name)?;
            Invocation::of(gochat, &[&keys[0], &keys[1]])
        } else {
            Invocation::of(native, &[name])
        };
        for half in hashes::halves_of(item) {
            invocation.arg(half);
        }
        self.client.invoke(&invocation, repeat).await
    }

    /// Where im-infra keeps the layout and the bits.
    fn gochat_keys(&self, name: &str) -> Result<[String; 2]> {
        let keys = [format!("{name}:bf_meta"), format!("{name}:bf_bitmap")];
        if self.client.config().is_cluster() {
            check_one_slot(keys.iter().map(String::as_str))?;
        }
        Ok(keys)
    }

    async fn reserve_gochat(&self, key: &str, name: &str, options: &BloomOptions) -> Result<()> {
        let keys = self.gochat_keys(name)?;
        let mut reserve = Invocation::of(&GOCHAT_RESERVE, &[&keys[0], &keys[1]]);
        let meta = layout::Meta::of(options);
        reserve.arg(meta.to_string());
        match reply::good(self.client.invoke(&reserve, Repeat::Harmless).await?)? {
            Value::Int(_) => Ok(()),
            Value::BulkString(found) if layout::Meta::read(&found)? == meta => Ok(()),
            Value::BulkString(_) => Err(exists(key, None)),
            _ => Err(unexpected()),
        }
    }
}

fn exists(key: &str, options: Option<BloomOptions>) -> Error {
    let with = options.map_or_else(
        || "other options".to_owned(),
        |options| format!("{} items at {}", options.capacity, options.error_rate),
    );
    Error::new(
        ErrorKind::AlreadyExists,
        format!("bloom filter {key:?} exists with {with}; delete it first or use another key"),
    )
    .without_effect()
}

fn not_reserved(key: &str) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("bloom filter {key:?} does not exist; reserve it first"),
    )
    .without_effect()
}
