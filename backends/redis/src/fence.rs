//! The parts that scripts have in common that give something to one owner at a time: the server's clock, and fences.

/// How long the last fence is remembered after its last use, in milliseconds.
pub(crate) const REMEMBERED: u64 = 3_600_000;

/// `now`: the server's clock, in microseconds.
macro_rules! lua_clock {
    () => {
        "local time = redis.call('TIME')
         local now = time[1] * 1000000 + time[2]
         local function text(number) return string.format('%.0f', number) end
         "
    };
}

/// `next_fence(last)`: greater than the last one that is remembered, and by the clock greater than any that is forgotten, with the
/// counter or with all data, unless the clock was set back since by more than has passed.
macro_rules! lua_fence {
    () => {
        "local function next_fence(last) return math.max((tonumber(last) or 0) + 1, now) end
         "
    };
}

/// `tell(channel)`: wakes who waits. Whoever may not publish leaves them to the end of the lease.
macro_rules! lua_tell {
    () => {
        "local function tell(channel) redis.pcall('PUBLISH', channel, '') end
         "
    };
}

pub(crate) use {lua_clock, lua_fence, lua_tell};
