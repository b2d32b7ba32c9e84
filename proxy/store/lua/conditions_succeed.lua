-- A target has answered, and is well. Tells whether it had rested.
--
-- KEYS  1 rests
-- ARGV  1 name
local condition = seen(redis.call('HGET', KEYS[1], ARGV[1]))
redis.call('HDEL', KEYS[1], ARGV[1])
return condition and condition.rest > 0 and 1 or 0
