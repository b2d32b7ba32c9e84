-- The meters of quotas: the twin of policy/quotas.py, which says what they mean. A limit is
-- {type, unit, amount, key, pool, then name, begin and end of three windows if it is a budget}; its
-- type 1 a bucket (a hash: used, at, of), 2 a counter (a hash: used; one for each window), 3 a crowd (a
-- sorted set: until when each stream can be there at most); its unit 0 the create itself, 1
-- tokens, 2 micro-dollars. A meter is told as two numbers: used and at, used and end, or how many and 0.
-- The keys of windows cannot be declared, but share the ledger's slot. A hold is a hash: tokens and
-- money that were asked for first, and places, each {type, unit, amount, key, at, used by then, pool,
-- units held, and 1 if it was held later, for another provider}.
local MINUTE_MS = 60000
local KEEP_MS = 40 * DAY_MS

local function window(limit)
  for i = 6, #limit, 3 do
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

-- What the meters of limits show, and the places in them that a stream would have.
local function look(limits)
  local told, places = {}, {}
  for i, limit in ipairs(limits) do
    local used, at, key = meter(limit)
    told[2 * i - 1], told[2 * i] = used, at
    places[i] = {limit[1], limit[2], limit[3], key, at, 0, limit[5], 0}
  end
  return told, places
end

-- Hold what a stream asks for under all limits, or under none, beside the places that it has. Returns
-- whether it may, and all meters, as they are then.
local function take(key, stream, limits, tokens, money, keep_ms, held, is_later)
  local told, places = look(limits)
  for i, limit in ipairs(limits) do
    if not fits(limit, told[2 * i - 1], wanted(limit[2], tokens, money)) then return false, told end
  end
  if #limits == 0 then return true, told end
  if #held == 0 then redis.call('HSET', key, 'tokens', tokens, 'money', money) end
  for i, limit in ipairs(limits) do
    local kind, place, want = limit[1], places[i], wanted(limit[2], tokens, money)
    place[8], place[9] = want, is_later and 1 or 0
    if kind == 1 then
      fill(place[4], limit[3], want * MINUTE_MS)
      told[2 * i - 1] = told[2 * i - 1] + want * MINUTE_MS
      place[6] = told[2 * i - 1]
    elseif kind == 2 then
      count(place[4], told[2 * i], want)
      told[2 * i - 1] = told[2 * i - 1] + want
    else
      redis.call('ZADD', place[4], NOW + keep_ms + DAY_MS, stream)
      local over = keep_ms + 2 * DAY_MS  -- another stream's may be later
      if redis.call('PTTL', place[4]) < over then redis.call('PEXPIRE', place[4], over) end
      told[2 * i - 1] = told[2 * i - 1] + 1
    end
    held[#held + 1] = place
  end
  redis.call('HSET', key, 'places', cmsgpack.pack(held))
  redis.call('PEXPIRE', key, keep_ms + DAY_MS)
  return true, told
end

local function places_of(key)
  local packed = redis.call('HMGET', key, 'places')[1]
  return packed and cmsgpack.unpack(packed) or {}
end

-- Of a stream that is new; one that holds something already is not asked again.
local function hold(key, stream, limits, tokens, money, keep_ms)
  if #places_of(key) > 0 then return true, (look(limits)) end
  return take(key, stream, limits, tokens, money, keep_ms, {}, false)
end

-- Of a stream that runs, for limits of one pool; if it has a place in that it is not asked again. One
-- that held nothing does so for a day and another, which is longer than any runs.
local function hold_more(key, stream, limits, tokens, money)
  local held = places_of(key)
  for _, place in ipairs(held) do
    if place[7] == limits[1][5] then return true, (look(limits)) end
  end
  local keep_ms = math.max(redis.call('PTTL', key) - DAY_MS, DAY_MS)
  return take(key, stream, limits, tokens, money, keep_ms, held, true)
end

-- What a stream held becomes what it used: in all pools the same, but for those in `by_pool`, each with
-- its {tokens, money}; what it held later, and is not there, nobody has used. Only the first time: the
-- hold is gone with it.
local function settle(key, stream, tokens, money, by_pool)
  local held = redis.call('HMGET', key, 'tokens', 'money', 'places')
  if not held[3] then return end
  redis.call('DEL', key)
  for _, place in ipairs(cmsgpack.unpack(held[3])) do
    local kind, unit, amount, where, at, used, pool, want, is_later = unpack(place)
    if kind == 3 then
      redis.call('ZREM', where, stream)
    elseif unit > 0 and tokens then
      local own = pool and by_pool[pool] or is_later == 1 and {0, 0} or {tokens, money}
      want = want or held[unit]  -- a hold of an older version has none
      local more = own[unit] - want
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
