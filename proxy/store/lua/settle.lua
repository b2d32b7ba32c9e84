-- A stream has ended: it no longer runs, and what it held becomes what it used.
--
-- KEYS  1 running  2 hold
-- ARGV  1 stream  2 tokens, or '' for what it held  3 micro-dollars
--       4 what it used of some pools, each {tokens, micro-dollars} by its name, as MessagePack
redis.call('ZREM', KEYS[1], ARGV[1])
settle(KEYS[2], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), cmsgpack.unpack(ARGV[4]))
