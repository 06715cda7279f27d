//! How an operation stands on the server, and the scripts that change it.
//!
//! One hash for each key: `owner` and `print` (the fingerprint's digest) of whoever has or had it, `until` while it is claimed,
//! `result` once it is done, `fence`. What an owner asks for begins with what a server without memory does too: after that it takes the
//! rest, so that only new claims are refused. With its result the hash ends by its time; without one it is kept a while for the fence.

use crate::fence::{lua_clock, lua_fence, lua_tell};
use crate::script::Script;

/// Takes the owner, the lease, how long the fence is remembered, the digest or nothing. `{1, fence}` when it is claimed,
/// `{0, microseconds}` when somebody else has it, `{2, result}` when it is done, `{3}` for another request. By the owner itself, after
/// a reply that was lost, it is the same again.
pub(super) static CLAIM: Script = Script::new(concat!(
    lua_clock!(),
    lua_fence!(),
    "local known = redis.call('HMGET', KEYS[1], 'owner', 'fence', 'until', 'print', 'result')
     local ends = tonumber(known[3]) or 0
     local done = known[5]
     local claimed = not done and known[1] and ends > now
     if done or claimed then
       if known[4] and ARGV[4] ~= '' and known[4] ~= ARGV[4] then return {3} end
       if done then return {2, done} end
       if known[1] ~= ARGV[1] then return {0, ends - now} end
     end
     local fence = claimed and tonumber(known[2]) or next_fence(known[2])
     redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'fence', text(fence), 'until', text(now + ARGV[2] * 1000))
     if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'print', ARGV[4]) else redis.call('HDEL', KEYS[1], 'print') end
     redis.call('PEXPIRE', KEYS[1], text(ARGV[2] + ARGV[3]))
     return {1, fence}"
));

/// Whether the claim was still ours. Takes the owner, the lease, how long the fence is remembered.
pub(super) static RENEW: Script = Script::new(concat!(
    lua_clock!(),
    "local known = redis.call('HMGET', KEYS[1], 'owner', 'until')
     if known[1] ~= ARGV[1] or (tonumber(known[2]) or 0) <= now then return 0 end
     redis.call('PEXPIRE', KEYS[1], text(ARGV[2] + ARGV[3]))
     redis.call('HSET', KEYS[1], 'until', text(now + ARGV[2] * 1000))
     return 1"
));

/// Whether the claim was still ours, or completed by us before. Takes the owner, the result, its time.
pub(super) static COMPLETE: Script = Script::new(concat!(
    lua_clock!(),
    lua_tell!(),
    "local known = redis.call('HMGET', KEYS[1], 'owner', 'until')
     if known[1] ~= ARGV[1] then return 0 end
     if not known[2] then return redis.call('HEXISTS', KEYS[1], 'result') end
     if tonumber(known[2]) <= now then return 0 end
     redis.call('HDEL', KEYS[1], 'until')
     redis.call('HSET', KEYS[1], 'result', ARGV[2])
     redis.call('PEXPIRE', KEYS[1], ARGV[3])
     tell(KEYS[1])
     return 1"
));

/// Whether the claim was still ours. Takes the owner, how long the fence is remembered.
pub(super) static RELEASE: Script = Script::new(concat!(
    lua_clock!(),
    lua_tell!(),
    "local known = redis.call('HMGET', KEYS[1], 'owner', 'until')
     if known[1] ~= ARGV[1] or (tonumber(known[2]) or 0) <= now then return 0 end
     redis.call('HDEL', KEYS[1], 'owner', 'until', 'print')
     redis.call('PEXPIRE', KEYS[1], ARGV[2])
     tell(KEYS[1])
     return 1"
));

/// Whether anything was known. Takes how long the fence is remembered.
pub(super) static CLEAR: Script = Script::new(concat!(
    lua_clock!(),
    lua_tell!(),
    "local known = redis.call('HMGET', KEYS[1], 'until', 'result')
     if not known[2] and (tonumber(known[1]) or 0) <= now then return 0 end
     redis.call('HDEL', KEYS[1], 'owner', 'until', 'print', 'result')
     redis.call('PEXPIRE', KEYS[1], ARGV[1])
     tell(KEYS[1])
     return 1"
));

/// -1 when it is done, else how many microseconds its claim has left, 0 without one.
pub(super) static LOOK: Script = Script::new(concat!(
    lua_clock!(),
    "local known = redis.call('HMGET', KEYS[1], 'until', 'result')
     if known[2] then return -1 end
     return math.max((tonumber(known[1]) or 0) - now, 0)"
));
