-- What the meters of some limits show.
--
-- KEYS  1 running, which says where the ledger is
-- ARGV  1 the limits, as MessagePack
-- Returns  the store's clock, then each meter
local told = {NOW}
for _, limit in ipairs(cmsgpack.unpack(ARGV[1])) do
  local used, at = meter(limit)
  told[#told + 1], told[#told + 2] = used, at
end
return told
