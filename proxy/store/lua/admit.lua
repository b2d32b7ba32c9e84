-- Enter one create in the ledger: claim its idempotency key, list it, count it as running.
-- All of it, or nothing if another stream holds the key.
--
-- KEYS  1 running  2 until  3 claim  4.. lists
-- ARGV  1 stream  2 created at, in us  3 to be kept for, in ms  4 lease in ms
--       5 fingerprint, or '' without a claim  6 member of `until`  7 prefix of the lists' keys
-- Returns  nothing, or of the earlier use: stream, fingerprint, age in ms
if ARGV[5] ~= '' then
  local held = redis.call('HMGET', KEYS[3], 'stream', 'fingerprint', 'made')
  if held[1] and held[1] ~= ARGV[1] then return {held[1], held[2], NOW - held[3]} end
  redis.call('HSET', KEYS[3], 'stream', ARGV[1], 'fingerprint', ARGV[5], 'made', NOW)
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
end
trim(KEYS[2], ARGV[7])
local keep_ms = tonumber(ARGV[3])
for i = 4, #KEYS do
  redis.call('ZADD', KEYS[i], ARGV[2], ARGV[1])
  keep(KEYS[i], keep_ms + DAY_MS)
end
redis.call('ZADD', KEYS[2], NOW + keep_ms, ARGV[6])
keep(KEYS[2], keep_ms + DAY_MS)
redis.call('ZADD', KEYS[1], NOW + ARGV[4], ARGV[1])
keep(KEYS[1], keep_ms + DAY_MS)
return false
