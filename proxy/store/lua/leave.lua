-- No longer count a reader. If nobody is left, the producer is told.
--
-- KEYS  1 meta  2 readers
-- ARGV  1 reader  2 stream
local m = redis.call('HMGET', KEYS[1], 'channel', 'ending', 'erased', 'attended')
if m[2] or m[3] or not m[4] then return end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', NOW)
if redis.call('ZCARD', KEYS[2]) == 0 then redis.call('PUBLISH', m[1], ARGV[2]) end
