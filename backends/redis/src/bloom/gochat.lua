-- A filter as im-infra keeps it: KEYS[1] says how it is laid out, KEYS[2] has the bits.
local BITS_BEGIN = 0
local BITMAP = KEYS[2]

-- m and k, or nothing where there is no filter, or an error.
local function layout()
    local found = redis.pcall('GET', KEYS[1])
    if type(found) == 'table' then
        return nil, nil, found
    end
    if not found then
        return nil
    end
    local understood, meta = pcall(cjson.decode, found)
    local function is_number(value)
        return type(value) == 'number' and value >= 1 and value % 1 == 0
    end
    if not understood or type(meta) ~= 'table' or not is_number(meta.m) or not is_number(meta.k) then
        return nil, nil, {err = 'WRONGTYPE no layout of a bloom filter'}
    end
    if meta.m > 4294967296 or meta.k > 1900 then
        return nil, nil, {err = 'WRONGTYPE a layout that no filter can have'}
    end
    return meta.m, meta.k
end
