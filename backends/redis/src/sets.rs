//! Sets.

use async_trait::async_trait;
use bytes::Bytes;
use infra_core::Result;
use infra_core::cache::Sets;
use redis::Cmd;

use crate::cache::{RedisCache, command, run};
use crate::reply;

#[async_trait]
impl Sets for RedisCache {
    async fn set_add(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        run("set_add", async {
            let key = self.key(key)?;
            self.check_members(members.iter())?;
            self.count_of("SADD", &key, members).await
        })
        .await
    }

    async fn set_remove(&self, key: &str, members: &[Bytes]) -> Result<u64> {
        run("set_remove", async {
            let key = self.key(key)?;
            self.count_of("SREM", &key, members).await
        })
        .await
    }

    async fn set_members(&self, key: &str) -> Result<Vec<Bytes>> {
        run("set_members", async {
            let key = self.key(key)?;
            reply::members(self.ask(&command("SMEMBERS", &key)).await?)
        })
        .await
    }

    async fn set_contains(&self, key: &str, member: Bytes) -> Result<bool> {
        run("set_contains", async {
            let key = self.key(key)?;
            reply::flag(self.ask(command("SISMEMBER", &key).arg(&member[..])).await?)
        })
        .await
    }

    async fn set_len(&self, key: &str) -> Result<u64> {
        run("set_len", async {
            let key = self.key(key)?;
            reply::count(self.ask(&command("SCARD", &key)).await?)
        })
        .await
    }
}

impl RedisCache {
    /// Refuses members that are larger than the limit.
    pub(crate) fn check_members<'m>(&self, members: impl Iterator<Item = &'m Bytes>) -> Result<()> {
        members
            .into_iter()
            .try_for_each(|member| self.limits().check_value("member", member.len()))
    }

    /// Does this to each of the members; how many it changed.
    pub(crate) async fn count_of(&self, name: &str, key: &str, members: &[Bytes]) -> Result<u64> {
        if members.is_empty() {
            return Ok(0);
        }
        reply::count(self.ask(&with_members(command(name, key), members)).await?)
    }
}

/// Adds members to a command.
fn with_members(mut command: Cmd, members: &[Bytes]) -> Cmd {
    for member in members {
        command.arg(&member[..]);
    }
    command
}
