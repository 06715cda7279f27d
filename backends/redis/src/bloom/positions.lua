
-- ARGV: the upper and lower halves of both hashes.
local high1, low1, high2, low2 = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

-- (hash1 + i * hash2 mod 2^64) mod m, exactly: no step leaves the integers that a double holds.
local function position(i, m)
    local low = low1 + i * low2
    local high = (high1 + i * high2 + math.floor(low / 4294967296)) % 4294967296
    low = low % 4294967296
    local rest = (high % m * 65536 + math.floor(low / 65536)) % m
    return BITS_BEGIN + (rest * 65536 + low % 65536) % m
end

local m, k, refused = layout()
if refused then
    return refused
end
