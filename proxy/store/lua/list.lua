-- A page of streams, newest first; of one moment, the highest id first.
--
-- KEYS  1 list  2 until
-- ARGV  1 how many  2 prefix of the lists' keys  3 created at, in us  4 stream: where the page
--       before ended (both '' for the first page)
-- Returns  stream and created at of each, one more than asked for if there is another page
trim(KEYS[2], ARGV[2])
local most = tonumber(ARGV[1]) + 1
if ARGV[3] == '' then return redis.call('ZREVRANGE', KEYS[1], 0, most - 1, 'WITHSCORES') end
local newer = redis.call('ZCOUNT', KEYS[1], '(' .. ARGV[3], '+inf')
local same = redis.call('ZCOUNT', KEYS[1], ARGV[3], ARGV[3])
local got = redis.call('ZREVRANGE', KEYS[1], newer, newer + same + most - 1, 'WITHSCORES')
local page = {}
for i = 1, #got, 2 do
  if got[i + 1] ~= ARGV[3] or got[i] < ARGV[4] then
    page[#page + 1] = got[i]
    page[#page + 1] = got[i + 1]
    if #page == 2 * most then break end
  end
end
return page
