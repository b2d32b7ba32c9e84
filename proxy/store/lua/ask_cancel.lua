-- Leave the wish that the producer stop, and tell it.
--
-- KEYS  1 meta
-- ARGV  1 stream
local m = redis.call('HMGET', KEYS[1], 'channel', 'ending', 'erased')
if m[1] and not m[2] and not m[3] then
  redis.call('HSET', KEYS[1], 'cancel', '1')
  redis.call('PUBLISH', m[1], ARGV[1])
end
