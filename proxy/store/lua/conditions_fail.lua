-- A target has failed. Tells the clock, how it does now, and whether it begins to rest.
--
-- KEYS  1 rests
-- ARGV  1 name  2 failures after which it rests  3 for how long  4 at most  5 the provider's wish
--       6 reason  7 how many names are kept
local name, after, rest, longest = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local asked = tonumber(ARGV[5])
local kept = redis.call('HGET', KEYS[1], name)
local condition = seen(kept) or new()
if after == 0 then return {NOW, written(condition), 0} end

local rested, least = condition.rest > 0, nil
if not rested then
  condition.failures = condition.failures + 1
  if condition.failures >= after then
    condition.since = NOW
    least = rest
  end
elseif condition.is_probed == 1 then
  least = 2 * condition.rest
elseif asked > math.max(condition.till - NOW, 0) then
  least = asked
else
  return {NOW, written(condition), 0}
end
condition.at = NOW
condition.reason = ARGV[6]
if least then
  condition.rest = math.min(math.max(least, asked), longest)
  condition.till = NOW + condition.rest
  condition.is_probed = 0
end

if not kept then -- rare, so all may be looked at: one that does not rest goes, and the oldest
  local all = redis.call('HGETALL', KEYS[1])
  if #all >= 2 * tonumber(ARGV[7]) then
    local oldest, spared
    for place = 1, #all, 2 do
      local other = seen(all[place + 1])
      local age = other and (other.rest > 0 and 1 or 0) * 1e14 + other.at or -1
      if not oldest or age < oldest or (age == oldest and all[place] < spared) then
        oldest, spared = age, all[place]
      end
    end
    redis.call('HDEL', KEYS[1], spared)
  end
end
return {NOW, keep(KEYS[1], name, condition), (least and not rested) and 1 or 0}
