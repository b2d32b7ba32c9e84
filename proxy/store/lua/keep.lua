-- Let a key live for at least so long. Every key of the ledger has an expiry.
local function keep(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end
