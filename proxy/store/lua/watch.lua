-- From now on appends to this stream ring its bell.
--
-- KEYS  1 meta
local m = redis.call('HMGET', KEYS[1], 'epoch', 'ending')
if m[1] and not m[2] then redis.call('HSET', KEYS[1], 'watched', '1') end
