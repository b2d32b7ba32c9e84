-- Begin the next epoch of a stream whose producer has let its lease run out.
--
-- KEYS  1 meta  2 events  3 readers
-- ARGV  1 lease in ms  2 control channel of the worker  3 when it was asked for, in ms
-- Returns  nothing if it has ended, is unknown or was asked for too long ago; the ms that are left
--          of its lease if it lives; else the state under the new epoch
local ASKED_MS = 1000  -- how long ago at most: short beside what a lease has left when renewed
if NOW - ARGV[3] > ASKED_MS then return false end
local m = look(KEYS[1])
if not m or m[4] or m[11] then return false end
local left = m[15] - NOW
if left > 0 then return left end
m[2] = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'lease', NOW + ARGV[1], 'channel', ARGV[2])
return told(m)
