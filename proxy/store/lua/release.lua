-- Give an idempotency key back, if the stream still holds it.
--
-- KEYS  1 claim
-- ARGV  1 stream
if redis.call('HGET', KEYS[1], 'stream') == ARGV[1] then redis.call('DEL', KEYS[1]) end
