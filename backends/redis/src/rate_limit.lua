-- Takes tokens from several buckets, or from none. Everything is counted in whole numbers below 2^53, which Lua's numbers keep
-- exactly: whole tokens, and millionths of a millionth of one beside them.
--
-- KEYS[i]: the bucket of the i-th take; a bucket may be named several times.
-- ARGV[1], ARGV[2]: the name of the field with the time, and what its microseconds end with ('000' makes them nanoseconds).
-- ARGV[3]: how many milliseconds a bucket is kept after it is full.
-- ARGV[3i+1], ARGV[3i+2], ARGV[3i+3]: of the i-th take the capacity, the millionths of a token per second, and the cost.
-- Returns for each take whether there was enough, and the whole tokens and the rest that its bucket holds; or the place of a key
-- that holds something else.

local UNIT, MILLION = 1000000000000, 1000000
local time_field, time_suffix, kept = ARGV[1], ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * MILLION + clock[2]

local function cap(bucket)
  if bucket.whole >= bucket.capacity then bucket.whole, bucket.part = bucket.capacity, 0 end
end

local function refill(bucket)
  local elapsed, rate = now - bucket.at, bucket.rate
  if elapsed <= 0 then return end
  bucket.at = now
  if elapsed * rate >= 2 * MILLION * UNIT then -- more than any bucket holds
    bucket.whole, bucket.part = bucket.capacity, 0
    return
  end
  -- The product in parts, since it has up to 61 bits.
  local seconds, micros = math.floor(elapsed / MILLION), elapsed % MILLION
  local tokens, fraction = math.floor(rate / MILLION), rate % MILLION
  local middle = seconds * fraction + micros * tokens
  local part = bucket.part + (middle % MILLION) * MILLION + micros * fraction
  bucket.whole = bucket.whole + seconds * tokens + math.floor(middle / MILLION) + math.floor(part / UNIT)
  bucket.part = part % UNIT
  cap(bucket)
end

-- '3.5' as 3 tokens and the rest, without a rounding; in the forms that other programs write, with one.
local function read_tokens(text)
  local whole, part = string.match(text, '^(%d+)%.?(%d*)$')
  if whole and #whole <= 15 then
    return tonumber(whole), tonumber(string.sub(part .. '000000000000', 1, 12))
  end
  local number = tonumber(text)
  if not number then return nil end
  if not (number > 0) then return 0, 0 end
  number = math.min(number, MILLION)
  return math.floor(number), math.floor((number % 1) * UNIT)
end

local function read_time(text)
  if time_suffix == '' then return tonumber(text) end
  if string.match(text, '^%d+$') then return tonumber(string.sub(text, 1, -4)) or 0 end
  local number = tonumber(text)
  return number and math.floor(number / 1000)
end

local function load(key, capacity, rate)
  local found = redis.call('HMGET', key, 'tokens', time_field, 'capacity', 'rate')
  if not found[1] then return {whole = capacity, part = 0, at = now, capacity = capacity, rate = rate} end
  local whole, part = read_tokens(found[1])
  local at = found[2] and read_time(found[2])
  if not whole or not at then return nil end
  local bucket = {whole = whole, part = part, at = at}
  bucket.capacity = found[3] and tonumber(found[3]) or capacity
  bucket.rate = found[4] and tonumber(found[4]) or rate
  cap(bucket)
  return bucket
end

local function store(key, bucket)
  local missing = (bucket.capacity - bucket.whole) * UNIT - bucket.part
  local full_in = (bucket.at - now + missing / bucket.rate) / 1000
  redis.call('HSET', key,
    'tokens', string.format('%d.%012.0f', bucket.whole, bucket.part),
    time_field, string.format('%.0f', bucket.at) .. time_suffix,
    'capacity', string.format('%d', bucket.capacity), 'rate', string.format('%.0f', bucket.rate))
  -- Never too early: a bucket that is forgotten is a full one.
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(full_in) + 1 + kept))
end

local buckets, answers, enough = {}, {}, true
for i, key in ipairs(KEYS) do
  local capacity, rate, cost = tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
  local bucket = buckets[key]
  if not bucket then
    bucket = load(key, capacity, rate)
    if not bucket then return i end
    bucket.taken = 0
    buckets[key] = bucket
  end
  refill(bucket)
  if bucket.capacity ~= capacity or bucket.rate ~= rate then
    bucket.capacity, bucket.rate, bucket.changed = capacity, rate, true
    cap(bucket)
  end
  local held = bucket.whole >= cost
  if held then
    bucket.whole, bucket.taken = bucket.whole - cost, bucket.taken + cost
  else
    enough = false
  end
  answers[3 * i - 2], answers[3 * i - 1], answers[3 * i] = held and 1 or 0, bucket.whole, bucket.part
end

if not enough then
  for _, bucket in pairs(buckets) do
    bucket.whole = bucket.whole + bucket.taken
    cap(bucket)
  end
  for i, key in ipairs(KEYS) do
    if answers[3 * i - 2] == 1 then
      answers[3 * i - 1], answers[3 * i] = buckets[key].whole, buckets[key].part
    end
  end
end
for key, bucket in pairs(buckets) do
  -- What was denied leaves nothing behind but the new quota, at which the bucket gains from now on.
  if enough or bucket.changed then store(key, bucket) end
end
return answers
