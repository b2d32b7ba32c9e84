-- Remove the events, and leave a tombstone for a day. Watchers and the producer are told.
--
-- KEYS  1 meta  2 events  3 readers
-- ARGV  1 stream
local m = redis.call('HMGET', KEYS[1], 'channel', 'ending', 'erased', 'watched')
if not m[1] or m[3] then return end
redis.call('DEL', KEYS[2], KEYS[3], string.sub(KEYS[1], 1, -5) .. 'recipe')
redis.call('HSET', KEYS[1], 'erased', '1')
redis.call('PEXPIREAT', KEYS[1], NOW + DAY_MS)
if m[4] then redis.call('PUBLISH', string.sub(KEYS[1], 1, -5) .. 'bell', '') end
if not m[2] then redis.call('PUBLISH', m[1], ARGV[1]) end
