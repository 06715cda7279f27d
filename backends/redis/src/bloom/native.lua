-- A filter in one string: 8 bytes that say what it is, then m (8 bytes), k (4), 4 bytes of zero, the capacity (8) and the error rate
-- (8), all with the greatest byte first; then the bits.
local BITS_BEGIN = 320
local BITMAP = KEYS[1]

-- m and k, or nothing where there is no filter, or an error.
local function layout()
    local head = redis.pcall('GETRANGE', KEYS[1], 0, 39)
    if type(head) == 'table' then
        return nil, nil, head
    end
    if head == '' and redis.call('EXISTS', KEYS[1]) == 0 then
        return nil
    end
    if #head < 40 or string.sub(head, 1, 8) ~= 'infraBF\1' then
        return nil, nil, {err = 'WRONGTYPE no bloom filter of a known format'}
    end
    local m, k = struct.unpack('>I8I4', head, 9)
    return m, k
end
