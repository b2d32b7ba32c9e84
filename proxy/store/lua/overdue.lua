-- Running streams that are due to be looked at, and not again for another second.
--
-- KEYS  1 running
-- ARGV  1 how many
local LOOK_MS = 1000
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, stream in ipairs(due) do redis.call('ZADD', KEYS[1], NOW + LOOK_MS, stream) end
keep(KEYS[1], DAY_MS)
return due
