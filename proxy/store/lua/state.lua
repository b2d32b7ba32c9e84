-- The state of a stream: thirteen fields in the order that the client reads them, then what only
-- scripts need. Nothing if the stream is unknown. An expired one is erased, whether or not
-- Redis has already dropped its events.
local function look(meta)
  local m = redis.call('HMGET', meta, 'birth', 'epoch', 'last', 'ending', 'problem', 'usage',
    'content', 'ended', 'expires', 'cancel', 'erased', 'watched', 'legs', 'biggest', 'lease')
  if not m[1] then return nil end
  if m[9] and tonumber(m[9]) <= NOW then m[11] = '1' end
  return m
end

local function told(m)
  return {m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8], m[9], m[10], m[11], m[12], m[13]}
end
