-- What every worker says of itself. The keys of reports cannot be declared beforehand, but share
-- the ledger's slot.
--
-- KEYS  1 workers
-- ARGV  1 prefix of the reports' keys
local told = {}
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. NOW, '+inf')) do
  local report = redis.call('GET', ARGV[1] .. worker)
  if report then told[#told + 1] = report end
end
return told
