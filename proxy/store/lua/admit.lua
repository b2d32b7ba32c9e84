-- Enter one create in the ledger: claim its idempotency key, list it, count it as running, hold
-- what it asks for. All of it, or nothing if another stream holds the key or a limit says no.
--
-- KEYS  1 running  2 until  3 claim  4 hold  5.. lists
-- ARGV  1 stream  2 created at, in us  3 to be kept for, in ms  4 lease in ms
--       5 fingerprint, or '' without a claim  6 member of `until`  7 prefix of the lists' keys
--       8 the limits, as MessagePack  9 tokens asked for  10 micro-dollars
-- Returns  2, stream and fingerprint of the earlier use; or 1 if it was admitted and 0 if it was
--          refused, the store's clock, and each meter
local is_claimed = ARGV[5] ~= ''
if is_claimed then
  local held = redis.call('HMGET', KEYS[3], 'stream', 'fingerprint')
  if held[1] and held[1] ~= ARGV[1] then return {2, held[1], held[2]} end
end
local keep_ms = tonumber(ARGV[3])
local limits = cmsgpack.unpack(ARGV[8])
local may, told = hold(KEYS[4], ARGV[1], limits, tonumber(ARGV[9]), tonumber(ARGV[10]), keep_ms)
table.insert(told, 1, may and 1 or 0)
table.insert(told, 2, NOW)
if not may then return told end
if is_claimed then
  redis.call('HSET', KEYS[3], 'stream', ARGV[1], 'fingerprint', ARGV[5])
  redis.call('PEXPIRE', KEYS[3], keep_ms)
end
trim(KEYS[2], ARGV[7])
for i = 5, #KEYS do
  redis.call('ZADD', KEYS[i], ARGV[2], ARGV[1])
  keep(KEYS[i], keep_ms + DAY_MS)
end
redis.call('ZADD', KEYS[2], NOW + keep_ms, ARGV[6])
keep(KEYS[2], keep_ms + DAY_MS)
redis.call('ZADD', KEYS[1], NOW + ARGV[4], ARGV[1])
keep(KEYS[1], keep_ms + DAY_MS)
return told
