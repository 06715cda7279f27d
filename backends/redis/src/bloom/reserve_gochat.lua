-- ARGV: the layout. Returns 1, or the layout of the filter that is there.
local m, _, refused = layout()
if refused then
    return refused
end
if m then
    return redis.call('GET', KEYS[1])
end
local done = redis.pcall('SET', KEYS[1], ARGV[1])
if done.err then
    return done
end
-- Bits of a filter whose layout somebody deleted are nothing of this one's.
redis.call('DEL', KEYS[2])
return 1
