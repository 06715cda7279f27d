-- Does a batch: all of its steps, or none.
--
-- KEYS: one for each condition, then one for each step; a key may come several times.
-- ARGV: the number of conditions; of each condition its name, and for `equals` the value; of each step its name, the number of its
-- arguments, and these. 64-bit numbers travel as text, since Lua has only doubles.
-- Returns {1, result, …}, or {0, the number of the first condition that does not hold}, or an error.

local NOT_THIS_TYPE = 'WRONGTYPE Operation against a key holding the wrong kind of value'
local NO_INTEGER = 'ERR value is not an integer or out of range'
-- How many arguments one command gets: what Lua's stack surely holds. Even, for pairs.
local AT_ONCE = 2000

local at = 1
local function take()
    at = at + 1
    return ARGV[at - 1]
end

local function type_of(key)
    return redis.call('TYPE', key).ok
end

-- The conditions, in order.
local conditions = tonumber(take())
for number = 1, conditions do
    local key, name = KEYS[number], take()
    local holds
    if name == 'equals' then
        local expected, kind = take(), type_of(key)
        if kind ~= 'string' and kind ~= 'none' then
            return {err = NOT_THIS_TYPE .. ' (condition ' .. number .. ')'}
        end
        holds = redis.call('GET', key) == expected
    else
        holds = (redis.call('EXISTS', key) == 1) == (name == 'exists')
    end
    if not holds then
        return {0, number - 1}
    end
end

-- The type that a step works on, what it may do with it, and the command for its arguments.
local STEPS = {
    set = {writes = true},
    delete = {writes = true},
    expire = {writes = true},
    get = {type = 'string'},
    incr = {type = 'string', writes = true, makes = true},
    hash_set = {type = 'hash', writes = true, makes = true, command = 'HSET'},
    set_add = {type = 'set', writes = true, makes = true, command = 'SADD'},
    set_remove = {type = 'set', writes = true, empties = true, command = 'SREM'},
    sorted_add = {type = 'zset', writes = true, makes = true, command = 'ZADD'},
    sorted_remove = {type = 'zset', writes = true, empties = true},
}

local steps = {}
while at <= #ARGV do
    local name, count = take(), tonumber(take())
    local number = #steps + 1
    steps[number] = {name = name, does = STEPS[name], key = KEYS[conditions + number], first = at, last = at + count - 1}
    at = at + count
end

-- What will be under the keys after each step, as far as that can be known beforehand.
local kinds = {}    -- The type.
local perhaps = {}  -- Whether there may be nothing instead, since a step took members away.
local numbers = {}  -- The string as it will be; false where it is not known.
local doubtful = 0  -- The last step that may fail after others were done.

-- Whether `step` will meet an integer and a sum that fits: nil, an error, or that only trying tells.
local function foresee_sum(step)
    local key, difference = step.key, ARGV[step.first]
    local value = numbers[key]
    if kinds[key] == 'none' then
        value = '0'
    elseif value == nil then
        if redis.call('STRLEN', key) > 20 then
            return NO_INTEGER
        end
        value = redis.call('GET', key)
    end
    numbers[key] = false
    if value and value ~= '0' and not string.match(value, '^-?[1-9]%d*$') then
        return NO_INTEGER
    end
    -- Doubles hold integers of 15 digits exactly.
    if not value or #value > 15 or #difference > 15 then
        return nil, true
    end
    numbers[key] = string.format('%.0f', tonumber(value) + tonumber(difference))
end

for number, step in ipairs(steps) do
    local key, does = step.key, step.does
    local kind = kinds[key] or type_of(key)
    kinds[key] = kind
    local refused, doubt
    if step.name == 'set' then
        kinds[key], perhaps[key], numbers[key] = 'string', false, ARGV[step.first]
    elseif step.name == 'delete' then
        kinds[key], perhaps[key] = 'none', false
    elseif does.type and not (does.command and step.last < step.first) then
        if kind ~= 'none' and kind ~= does.type then
            if not perhaps[key] then
                return {err = NOT_THIS_TYPE .. ' (step ' .. number .. ')'}
            end
            -- It is done only if there is nothing by then.
            doubt = true
            kinds[key], perhaps[key] = 'none', false
        end
        if step.name == 'incr' then
            local unknown
            refused, unknown = foresee_sum(step)
            doubt = doubt or unknown
        end
        if does.makes then
            kinds[key], perhaps[key] = does.type, false
        elseif does.empties and kinds[key] ~= 'none' then
            perhaps[key] = true
        end
    end
    if refused then
        return {err = refused .. ' (step ' .. number .. ')'}
    end
    if doubt then
        doubtful = number
    end
end

-- What the steps before a doubtful one will change is kept, if there is one.
local kept = {}
local holds_values = false
for number = 1, doubtful - 1 do
    local step = steps[number]
    if step.does.writes and not kept[step.key] then
        local value = redis.call('DUMP', step.key)
        kept[step.key] = {value = value, ttl = redis.call('PTTL', step.key)}
        holds_values = holds_values or value
    end
end
if holds_values then
    -- Whether it could be put back: this is refused in any case, and should be for its argument.
    local refused = redis.pcall('RESTORE', steps[1].key, 0, '', 'REPLACE')
    if not string.find(refused.err, 'DUMP payload', 1, true) then
        return refused
    end
end

local function put_back()
    for key, before in pairs(kept) do
        if before.value then
            -- A time to live of 0 would be none.
            local ttl = before.ttl < 0 and 0 or math.max(before.ttl, 1)
            redis.call('RESTORE', key, ttl, before.value, 'REPLACE')
        else
            redis.call('DEL', key)
        end
    end
end

local function many(step)
    local sum = 0
    for first = step.first, step.last, AT_ONCE do
        local done = redis.pcall(step.does.command, step.key, unpack(ARGV, first, math.min(first + AT_ONCE - 1, step.last)))
        if type(done) == 'table' then
            return done
        end
        sum = sum + done
    end
    return sum
end

-- The result of a step, or a table with the error.
local function apply(step)
    local name, key, first = step.name, step.key, step.first
    if name == 'get' then
        return redis.pcall('GET', key)
    elseif name == 'set' then
        local done
        if ARGV[first + 1] == '' then
            done = redis.pcall('SET', key, ARGV[first])
        else
            done = redis.pcall('SET', key, ARGV[first], 'PX', ARGV[first + 1])
        end
        return done.err and done or 1
    elseif name == 'incr' then
        local done = redis.pcall('INCRBY', key, ARGV[first])
        -- The number itself may have lost digits.
        return type(done) == 'table' and done or redis.call('GET', key)
    elseif name == 'delete' then
        return redis.pcall('DEL', key)
    elseif name == 'expire' then
        if ARGV[first] ~= '' then
            return redis.pcall('PEXPIRE', key, ARGV[first])
        end
        local done = redis.pcall('PERSIST', key)
        return type(done) == 'table' and done or redis.call('EXISTS', key)
    elseif name == 'sorted_remove' then
        return redis.pcall('ZREMRANGEBYRANK', key, ARGV[first], ARGV[first + 1])
    end
    return many(step)
end

local results = {1}
local wrote = false
for number, step in ipairs(steps) do
    local result = apply(step)
    if type(result) == 'table' then
        if number <= doubtful then
            put_back()
        elseif wrote then
            return {err = 'PARTIAL ' .. result.err .. ' (step ' .. number .. ')'}
        end
        return {err = result.err .. ' (step ' .. number .. ')'}
    end
    wrote = wrote or step.does.writes
    results[number + 1] = result
end
return results
