//! How a lock is kept on the server: what there is of it, and the scripts that change it.
//!
//! Ours is one hash for each lock: `owner` and `until` while it is held, `fence`, and `over`, the last owner that gave it back. It
//! outlives its holder, so that fences grow. GoChat's is a string that is there while the lock is held; beside it we keep the fence.

use std::time::Duration;

use infra_core::config::Compat;
use infra_core::{Error, Result};
use redis::Value;

use crate::client::{Client, Repeat, unexpected};
use crate::fence::{REMEMBERED, lua_clock, lua_fence, lua_tell};
use crate::reply;
use crate::script::{Invocation, Script};
use crate::slots::slot_of;
use crate::strings::milliseconds;

// All take the owner, a time to live and how long the fence is remembered, in milliseconds.

/// `{1, fence}`, or `{0, microseconds}` that the present owner has left. By the owner itself, after a reply that was lost, it is the
/// same again; not after the owner gave it back, as happens to a request that was given up and comes late.
static ACQUIRE: Script = Script::new(concat!(
    lua_clock!(),
    lua_fence!(),
    "local known = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'until', 'over')
     local ends = tonumber(known[3]) or 0
     local held = known[1] and ends > now
     if held and known[1] ~= ARGV[1] then return {0, ends - now} end
     if known[4] == ARGV[1] then return {0, 0} end
     local fence = held and tonumber(known[2]) or next_fence(known[2])
     redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'fence', text(fence), 'until', text(now + ARGV[2] * 1000))
     redis.call('PEXPIRE', KEYS[1], text(ARGV[2] + ARGV[3]))
     return {1, fence}"
));

/// Whether it was still ours. Expires first, which a server without memory does: after that it takes the rest.
static RENEW: Script = Script::new(concat!(
    lua_clock!(),
    "local known = redis.call('HMGET', KEYS[1], 'owner', 'until')
     if known[1] ~= ARGV[1] or (tonumber(known[2]) or 0) <= now then return 0 end
     redis.call('PEXPIRE', KEYS[1], text(ARGV[2] + ARGV[3]))
     redis.call('HSET', KEYS[1], 'until', text(now + ARGV[2] * 1000))
     return 1"
));

/// Whether it was still ours. `ARGV[4]` is 1 if the request that acquires may still be on its way.
static RELEASE: Script = Script::new(concat!(
    lua_clock!(),
    lua_tell!(),
    "local known = redis.call('HMGET', KEYS[1], 'owner', 'until', 'over')
     local ours = known[1] == ARGV[1]
     local held = ours and (tonumber(known[2]) or 0) > now
     if ours then redis.call('HDEL', KEYS[1], 'owner', 'until') end
     if held or ARGV[4] == '1' then
       redis.call('HSET', KEYS[1], 'over', ARGV[1])
       if ours or redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
     end
     if ours then tell(KEYS[1]) end
     if held or known[3] == ARGV[1] then return 1 end
     return 0"
));

static ACQUIRE_GOCHAT: Script = Script::new(concat!(
    lua_clock!(),
    lua_fence!(),
    "local owner = redis.call('GET', KEYS[1])
     if owner and owner ~= ARGV[1] then return {0, redis.call('PTTL', KEYS[1]) * 1000} end
     local last = redis.call('GET', KEYS[2])
     local fence = owner and tonumber(last) or next_fence(last)
     redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
     redis.call('SET', KEYS[2], text(fence), 'PX', text(ARGV[2] + ARGV[3]))
     return {1, fence}"
));

static RENEW_GOCHAT: Script = Script::new(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     redis.call('PEXPIRE', KEYS[1], ARGV[2])
     redis.call('PEXPIRE', KEYS[2], string.format('%.0f', ARGV[2] + ARGV[3]))
     return 1",
);

static RELEASE_GOCHAT: Script = Script::new(concat!(
    lua_tell!(),
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
     redis.call('DEL', KEYS[1])
     redis.call('PEXPIRE', KEYS[2], ARGV[3])
     tell(KEYS[1])
     return 1"
));

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Granted {
        fence: u64,
    },
    Held {
        /// How long at most without a renewal, where that is bounded at all.
        left: Option<Duration>,
    },
}

/// One lock of the server.
#[derive(Debug, Clone)]
pub(super) struct Lock {
    client: Client,
    /// Also the channel on which its release is told.
    key: String,
    /// Where GoChat's has none.
    fence: Option<String>,
}

impl Lock {
    pub(super) fn of(client: &Client, name: &str) -> Result<Self> {
        let key = client.keys().key(&["lock:", name].concat());
        let fence = match client.config().compat {
            Compat::GoChat => Some(beside(&key, client.config().is_cluster())?),
            _ => None,
        };
        Ok(Self {
            client: client.clone(),
            key,
            fence,
        })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether all who hold it tell when they give it back.
    pub(super) fn is_told(&self) -> bool {
        self.fence.is_none()
    }

    pub(super) async fn acquire(&self, owner: &str, ttl: Duration) -> Result<Answer> {
        let invocation = self.invocation(&ACQUIRE, &ACQUIRE_GOCHAT, owner, ttl);
        // The owner is of this attempt alone: acquiring twice is as good as once.
        let answer = reply::list(self.client.invoke(&invocation, Repeat::Harmless).await?)?;
        let [granted, number] = <[Value; 2]>::try_from(answer).map_err(|_| unexpected())?;
        let (granted, number) = (reply::flag(granted)?, reply::number(number)?);
        if granted {
            let fence = u64::try_from(number).map_err(|_| unexpected())?;
            return Ok(Answer::Granted { fence });
        }
        Ok(Answer::Held {
            left: u64::try_from(number).ok().map(Duration::from_micros),
        })
    }

    /// Whether it is still this owner's.
    pub(super) async fn renew(&self, owner: &str, ttl: Duration) -> Result<bool> {
        let invocation = self.invocation(&RENEW, &RENEW_GOCHAT, owner, ttl);
        reply::flag(self.client.invoke(&invocation, Repeat::Harmless).await?)
    }

    /// Whether it was this owner's. `late` if the request that acquires it may come after this one.
    pub(super) async fn release(&self, owner: &str, late: bool) -> Result<bool> {
        let mut invocation = self.invocation(&RELEASE, &RELEASE_GOCHAT, owner, Duration::ZERO);
        invocation.arg(u8::from(late));
        // GoChat's format does not know whose it was.
        let repeat = match self.fence {
            None => Repeat::Harmless,
            Some(_) => Repeat::Never,
        };
        reply::flag(self.client.invoke(&invocation, repeat).await?)
    }

    fn invocation(
        &self,
        ours: &'static Script,
        gochats: &'static Script,
        owner: &str,
        ttl: Duration,
    ) -> Invocation<'static> {
        let mut invocation = match &self.fence {
            None => Invocation::of(ours, &[&self.key]),
            Some(fence) => Invocation::of(gochats, &[&self.key, fence]),
        };
        invocation.arg(owner).arg(milliseconds(ttl)).arg(REMEMBERED);
        invocation
    }
}

/// A key beside another one: on a cluster, in its slot.
fn beside(key: &str, is_cluster: bool) -> Result<String> {
    let slot = slot_of(key.as_bytes());
    let mut names = [format!("{key}:fence"), format!("{{{key}}}:fence")].into_iter();
    let beside = names.find(|name| !is_cluster || slot_of(name.as_bytes()) == slot);
    beside.ok_or_else(|| {
        Error::invalid_argument(
            "a lock whose name has a `}` and no hash tag cannot be kept in GoChat's format on a cluster; leave the `}` out",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_lies_in_the_slot_of_its_lock() {
        for (key, fence) in [
            ("im:lock:a", "{im:lock:a}:fence"),
            ("im:lock:{a}b", "im:lock:{a}b:fence"),
            ("im:lock:a{b", "{im:lock:a{b}:fence"),
        ] {
            assert_eq!(beside(key, true).expect(key), fence);
        }
        for key in ["im:lock:a}b", "im:lock:{}b"] {
            beside(key, true).expect_err(key);
            beside(key, false).expect(key);
        }
    }
}
