-- Take streams off the lists that have been there for as long as they were to be: a batch of
-- them each time that somebody comes by. A member of `until` is a stream, then the names of the
-- lists that it is on; these keys cannot be declared beforehand, but share the ledger's slot.
local function trim(until_key, prefix)
  local over = redis.call('ZRANGEBYSCORE', until_key, '-inf', NOW, 'LIMIT', 0, 200)
  for _, member in ipairs(over) do
    local stream
    for word in string.gmatch(member, '%S+') do
      if stream then redis.call('ZREM', prefix .. word, stream) else stream = word end
    end
    redis.call('ZREM', until_key, member)
  end
end
