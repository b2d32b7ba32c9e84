-- Running streams are next due in so many milliseconds.
--
-- KEYS  1 running
-- ARGV  stream and ms of each
for i = 1, #ARGV, 2 do redis.call('ZADD', KEYS[1], 'XX', NOW + ARGV[i + 1], ARGV[i]) end
