-- Running streams that are due to be looked at, and not again for another second; none within a
-- lease after a pause, for then they may not have been able to renew.
--
-- KEYS  1 running  2 pulse
-- ARGV  1 how many  2 lease in ms
local LOOK_MS = 1000
local lease = tonumber(ARGV[2])
local pulse = redis.call('HMGET', KEYS[2], 'beat', 'since')
local since = tonumber(pulse[2])
if not pulse[1] or NOW - pulse[1] > lease / 4 then since = NOW end
redis.call('HSET', KEYS[2], 'beat', NOW, 'since', since)
keep(KEYS[2], DAY_MS)
if NOW - since < lease then return {} end

local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', NOW, 'LIMIT', 0, ARGV[1])
for _, stream in ipairs(due) do redis.call('ZADD', KEYS[1], NOW + LOOK_MS, stream) end
keep(KEYS[1], DAY_MS)
return due
