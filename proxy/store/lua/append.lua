-- One step of a producer: create, add events, renew the lease, end; any of them at once.
-- Every refusal comes before the first write, so a refused step changes nothing; the one
-- exception forgets events that are gone already.
--
-- KEYS  1 meta  2 events  3 readers
-- ARGV  1 epoch  2 lease in ms  3 control channel of the worker
--       4 birth or ''  5 retention in ms  6 ending or ''  7 problem or ''
--       8 legs or ''  9 recipe or ''  10 usage or ''  11 '1' if there is content
--       12 id of the first event
--       then data and name of each event
-- Returns  the last id alone, if the step was written and there is nothing else to tell; or
--          outcome (0 written, 1 gap, 2 lost, 3 fenced, 4 erased), last id, cancel asked,
--          readers (-1 where nobody ever attended)
--
-- Every token comes this way, and each command costs Redis 2 to 4 us, so what is needed rarely
-- is asked rarely.
local RENEW_MS = 60000  -- how much of a running stream's expiry may pass before it is set anew
local RING_BYTES_MAX = 262144  -- more than a watcher keeps; it reads the journal instead
local ending = ARGV[6]
local first = tonumber(ARGV[12])
local count = (#ARGV - 12) / 2

local m = redis.call('HMGET', KEYS[1], 'epoch', 'last', 'renew', 'biggest', 'retention',
  'watched', 'attended', 'cancel', 'ending', 'erased')
local last, renew, biggest = tonumber(m[2]), tonumber(m[3]), tonumber(m[4])

local function receipt()
  if not m[7] and not m[8] then return last end
  local readers = -1
  if m[7] then
    redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', NOW)
    readers = redis.call('ZCARD', KEYS[3])
  end
  return {0, last, m[8] and 1 or 0, readers}
end

if not m[1] then
  if ARGV[4] == '' then return {2, 0, 0, -1} end
  if first > 1 then return {1, 0, 0, -1} end
  local recipe = string.sub(KEYS[1], 1, -5) .. 'recipe'
  redis.call('DEL', KEYS[2], KEYS[3], recipe)  -- left over, if the meta was lost alone
  redis.call('HSET', KEYS[1], 'birth', ARGV[4], 'epoch', ARGV[1], 'retention', ARGV[5],
    'channel', ARGV[3], 'biggest', 0)
  if ARGV[9] ~= '' then redis.call('SET', recipe, ARGV[9]) end
  last, renew, biggest, m[5] = 0, 0, 0, ARGV[5]
  if count > 0 then  -- it was lost, and who watched it still does
    m[6] = '1'
    redis.call('HSET', KEYS[1], 'watched', '1')
  end
elseif m[10] then
  return {4, last, 0, -1}
elseif m[1] ~= ARGV[1] then
  return {3, last, 0, -1}
elseif m[9] then
  if m[9] == ending and first + count - 1 == last then return receipt() end
  return {3, last, 0, -1}
end
if first > last + 1 then return {1, last, 0, -1} end

if (count == 0 or ending ~= '') and redis.call('XLEN', KEYS[2]) ~= last then
  -- Events were evicted, or deleted by hand. The producer has them all, and writes them again.
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'last', 0)
  return {1, 0, 0, -1}
end

local skip, bytes = last - first + 1, 0
for i = skip + 1, count do
  local data, name = ARGV[11 + 2 * i], ARGV[12 + 2 * i]
  local id = string.format('%.0f-0', first + i - 1)
  if name == '' then
    redis.call('XADD', KEYS[2], id, 'data', data)
  else
    redis.call('XADD', KEYS[2], id, 'data', data, 'name', name)
  end
  bytes = bytes + #data
  if #data > biggest then biggest = #data end
end
local added = math.max(count - skip, 0)
last = last + added

local fields = {'last', last, 'lease', NOW + ARGV[2]}
local function set(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end
if ARGV[11] == '1' then set('content', '1') end
if ARGV[10] ~= '' then set('usage', ARGV[10]) end
if ARGV[8] ~= '' then set('legs', ARGV[8]) end
if biggest > tonumber(m[4] or 0) then set('biggest', biggest) end
redis.call('HSET', KEYS[1], unpack(fields))

if ending ~= '' then
  local retention = tonumber(m[5])
  redis.call('HSET', KEYS[1], 'ending', ending, 'ended', NOW, 'expires', NOW + retention)
  if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'problem', ARGV[7]) end
  redis.call('PEXPIREAT', KEYS[1], NOW + retention + DAY_MS)
  redis.call('DEL', string.sub(KEYS[1], 1, -5) .. 'recipe')
  if retention == 0 then
    redis.call('DEL', KEYS[2])
  else
    redis.call('PEXPIREAT', KEYS[2], NOW + retention)
  end
elseif NOW >= renew or last == added then
  local keep = NOW + m[5] + DAY_MS
  redis.call('HSET', KEYS[1], 'renew', NOW + RENEW_MS)
  redis.call('PEXPIREAT', KEYS[1], keep)
  redis.call('PEXPIREAT', KEYS[2], keep)
  redis.call('PEXPIREAT', string.sub(KEYS[1], 1, -5) .. 'recipe', keep)
end

if m[6] and (added > 0 or ending ~= '') then
  local ring = ''
  if bytes <= RING_BYTES_MAX or m[5] == '0' then
    local parts = {first + skip, ending}
    for i = 13 + 2 * skip, #ARGV do parts[#parts + 1] = ARGV[i] end
    ring = cmsgpack.pack(parts)
  end
  redis.call('PUBLISH', string.sub(KEYS[1], 1, -5) .. 'bell', ring)
end
return receipt()
