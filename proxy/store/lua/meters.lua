-- The meters of quotas: the twin of policy/quotas.py, which says what they mean. A limit is
-- {type, unit, amount, key, then name, begin and end of three windows if it is a budget}; its
-- type 1 a bucket (a hash: used, at, of), 2 a counter (a hash: used; one for each window), 3 a crowd (a
-- sorted set: until when each stream can be there at most); its unit 0 the create itself, 1
-- tokens, 2 micro-dollars. A meter is told as two numbers: used and at, used and end, or how many and 0.
-- The keys of windows cannot be declared, but share the ledger's slot.
local MINUTE_MS = 60000
local KEEP_MS = 40 * DAY_MS

local function window(limit)
  for i = 5, #limit, 3 do
    if NOW >= limit[i + 1] and NOW < limit[i + 2] then
      return limit[4] .. ':' .. limit[i], limit[i + 2]
    end
  end
  error('no window holds the store\'s clock: a clock is wrong by more than a day')
end

local function drained(key, amount)
  local m = redis.call('HMGET', key, 'used', 'at', 'of')
  local used, at, of = tonumber(m[1] or 0), tonumber(m[2] or NOW), tonumber(m[3] or amount)
  if amount < of then
    used = math.min(used, amount * MINUTE_MS + math.max(0, used - of * MINUTE_MS))
  end
  if NOW > at then
    used, at = math.max(0, used - amount * (NOW - at)), NOW
  end
  return used, at
end

local function spent(key)
  return tonumber(redis.call('HMGET', key, 'used')[1] or 0)
end

-- What a limit's meter shows, and the key that it is in.
local function meter(limit)
  if limit[1] == 1 then
    local used, at = drained(limit[4], limit[3])
    return used, at, limit[4]
  elseif limit[1] == 2 then
    local key, over = window(limit)
    return spent(key), over, key
  end
  redis.call('ZREMRANGEBYSCORE', limit[4], '-inf', NOW)
  return redis.call('ZCARD', limit[4]), 0, limit[4]
end

local function wanted(unit, tokens, money)
  if unit == 0 then return 1 end
  return unit == 1 and tokens or money
end

local function fits(limit, used, want)
  if limit[1] == 1 then return used + want * MINUTE_MS <= limit[3] * MINUTE_MS end
  return used + want <= limit[3]
end

local function fill(key, amount, more)
  local used, at = drained(key, amount)
  used = math.max(0, used + more)
  if used == 0 then return redis.call('DEL', key) end
  redis.call('HSET', key, 'used', string.format('%.0f', used), 'at', string.format('%.0f', at),
    'of', amount)
  redis.call('PEXPIRE', key, math.ceil(used / amount) + DAY_MS)
end

local function count(key, over, more)
  local used = math.max(0, spent(key) + more)
  if used == 0 then return redis.call('DEL', key) end
  redis.call('HSET', key, 'used', string.format('%.0f', used))
  redis.call('PEXPIREAT', key, string.format('%.0f', over + KEEP_MS))
end

-- Hold what a stream asks for under all limits, or under none. Returns whether it may, and all
-- meters, as they are then.
local function hold(key, stream, limits, tokens, money, keep_ms)
  local told, places, may = {}, {}, true
  local is_held = redis.call('HMGET', key, 'tokens')[1]
  for i, limit in ipairs(limits) do
    local used, at, place = meter(limit)
    told[2 * i - 1], told[2 * i] = used, at
    places[i] = {limit[1], limit[2], limit[3], place, at}
    if not fits(limit, used, wanted(limit[2], tokens, money)) then may = false end
  end
  if is_held then return true, told end
  if not may or #limits == 0 then return may, told end
  for i, limit in ipairs(limits) do
    local kind, amount, place, want = limit[1], limit[3], places[i][4], wanted(limit[2], tokens, money)
    if kind == 1 then
      fill(place, amount, want * MINUTE_MS)
      told[2 * i - 1] = told[2 * i - 1] + want * MINUTE_MS
      places[i][6] = told[2 * i - 1]
    elseif kind == 2 then
      count(place, told[2 * i], want)
      told[2 * i - 1] = told[2 * i - 1] + want
    else
      redis.call('ZADD', place, NOW + keep_ms + DAY_MS, stream)
      local over = keep_ms + 2 * DAY_MS  -- another stream's may be later
      if redis.call('PTTL', place) < over then redis.call('PEXPIRE', place, over) end
      told[2 * i - 1] = told[2 * i - 1] + 1
    end
  end
  redis.call('HSET', key, 'tokens', tokens, 'money', money, 'places', cmsgpack.pack(places))
  redis.call('PEXPIRE', key, keep_ms + DAY_MS)
  return true, told
end

-- What a stream held becomes what it used. Only the first time: the hold is gone with it.
local function settle(key, stream, tokens, money)
  local held = redis.call('HMGET', key, 'tokens', 'money', 'places')
  if not held[3] then return end
  redis.call('DEL', key)
  local more_tokens, more_money = 0, 0
  if tokens then more_tokens, more_money = tokens - held[1], money - held[2] end
  for _, place in ipairs(cmsgpack.unpack(held[3])) do
    local kind, unit, amount, where, at, used = unpack(place)
    if kind == 3 then
      redis.call('ZREM', where, stream)
    elseif unit > 0 then
      local more = unit == 1 and more_tokens or more_money
      if kind == 2 then
        count(where, at, more)
      elseif more ~= 0 then
        local there = math.max(0, used - amount * math.max(0, NOW - at))
        local of = tonumber(redis.call('HGET', where, 'of') or amount)
        fill(where, of, math.max(more * MINUTE_MS, -there))
      end
    end
  end
end
