-- The state of a stream and the events after a place, at one moment.
--
-- KEYS  1 meta  2 events
-- ARGV  1 after  2 events at most  3 bytes of data at most (but always one event)
-- Returns  nothing if unknown, else the state, then data and name of each event
local m = look(KEYS[1])
if not m then return false end
if not m[4] and not m[11] and not m[12] then
  redis.call('HSET', KEYS[1], 'watched', '1')  -- whoever reads a running stream wants its bells
end
local after, last = tonumber(ARGV[1]), tonumber(m[3])
local page = {}
if m[11] or after >= last then return {told(m), page} end
if redis.call('XLEN', KEYS[2]) ~= last then
  -- Events were evicted, or deleted by hand. A producer that lives writes them all again.
  if m[4] then m[11] = '1' else m[3] = 0 end
  return {told(m), page}
end

-- Ask for as many as fit even if each were the biggest, and again while there is room: what
-- Redis reads for one page is bounded too.
local most, room, biggest = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(m[14])
while after < last and most > 0 and room > 0 do
  local few = math.min(most, math.max(math.floor(room / math.max(biggest, 1)), 1))
  local got = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', after + 1), '+', 'COUNT', few)
  if #got == 0 then break end
  for _, entry in ipairs(got) do
    local data = entry[2][2]
    room = room - #data
    if room < 0 and #page > 0 then return {told(m), page} end
    page[#page + 1] = data
    page[#page + 1] = entry[2][4] or ''
  end
  after, most = after + #got, most - #got
end
return {told(m), page}
