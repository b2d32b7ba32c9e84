-- A stream that runs holds something more, if the limits of one pool let it.
--
-- KEYS  1 running  2 hold
-- ARGV  1 stream  2 the limits, as MessagePack, at least one  3 tokens asked for  4 micro-dollars
-- Returns  1 if it may and 0 if it may not, the store's clock, and each meter
local limits = cmsgpack.unpack(ARGV[2])
local may, told = true, nil
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  may, told = hold_more(KEYS[2], ARGV[1], limits, tonumber(ARGV[3]), tonumber(ARGV[4]))
else
  told = look(limits)
end
table.insert(told, 1, may and 1 or 0)
table.insert(told, 2, NOW)
return told
