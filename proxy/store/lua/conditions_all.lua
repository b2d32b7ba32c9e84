-- How all targets do that have failed lately: the clock, then name and condition of each.
--
-- KEYS  1 rests
local told = {NOW}
local all = redis.call('HGETALL', KEYS[1])
for place = 1, #all, 2 do
  local name, text = all[place], all[place + 1]
  local condition = seen(text)
  local now = condition and written(condition)
  if not now then
    redis.call('HDEL', KEYS[1], name)
  elseif now ~= text then
    redis.call('HSET', KEYS[1], name, now)
  end
  if now then
    told[#told + 1] = name
    told[#told + 1] = now
  end
end
return told
