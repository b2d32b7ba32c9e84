-- Count a reader as present.
--
-- KEYS  1 meta  2 readers
-- ARGV  1 reader  2 lease in ms
local m = redis.call('HMGET', KEYS[1], 'epoch', 'ending', 'erased', 'attended')
if not m[1] or m[2] or m[3] then return end
if not m[4] then redis.call('HSET', KEYS[1], 'attended', '1') end
redis.call('ZADD', KEYS[2], NOW + ARGV[2], ARGV[1])
local longest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[2], longest[2])
