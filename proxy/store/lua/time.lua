-- What every script begins with: the store's clock, the only one that counts, in milliseconds.
local DAY_MS = 86400000
local TIME = redis.call('TIME')
local NOW = TIME[1] * 1000 + math.floor(TIME[2] / 1000)
