-- How targets do that fail, as `policy.breaker` has it: a hash of their names. Moments and spans
-- are in milliseconds.
local FORGET_MS = 3600000
local KEEP_MS = 90000000

-- What is kept of a target as it is now, on a clock that may have gone back; nil if that is nothing.
local function seen(text)
  local failures, rest, till, is_probed, since, at, reason =
    string.match(text or '', '^(%d+) (%d+) (%d+) (%d) (%d+) (%d+) (.*)$')
  if not failures then return nil end
  local condition = {
    failures = tonumber(failures), rest = tonumber(rest), till = tonumber(till),
    is_probed = tonumber(is_probed), since = tonumber(since), at = tonumber(at), reason = reason,
  }
  if math.max(condition.at, condition.till) + FORGET_MS < NOW then return nil end
  if condition.till - NOW > condition.rest then condition.till = NOW + condition.rest end
  return condition
end

local function new()
  return {failures = 0, rest = 0, till = 0, is_probed = 0, since = 0, at = 0, reason = ''}
end

local function written(condition)
  return string.format('%d %d %d %d %d %d %s', condition.failures, condition.rest, condition.till,
    condition.is_probed, condition.since, condition.at, condition.reason)
end

local function keep(key, name, condition)
  local text = written(condition)
  redis.call('HSET', key, name, text)
  redis.call('PEXPIRE', key, KEEP_MS)
  return text
end
