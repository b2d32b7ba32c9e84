-- Keep what a worker says of itself, for a while. It takes the place of what it said before, and
-- is small, so it is never refused.
--
-- KEYS  1 workers  2 report of this worker
-- ARGV  1 worker  2 report  3 to be kept for, in ms
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', NOW)
redis.call('ZADD', KEYS[1], NOW + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
