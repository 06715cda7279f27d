-- ARGV: the head, and the place of the last bit. Returns 1, or the head of the filter that is there.
local m, _, refused = layout()
if refused then
    return refused
end
if m then
    return redis.call('GETRANGE', KEYS[1], 0, 39)
end
-- All of it now: want of memory shows here, and not when an item is added.
local done = redis.pcall('SETBIT', KEYS[1], ARGV[2], 0)
if type(done) == 'table' then
    return done
end
redis.call('SETRANGE', KEYS[1], 0, ARGV[1])
return 1
