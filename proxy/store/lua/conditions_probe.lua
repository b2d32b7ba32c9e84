-- Somebody asks whether to try a target. Tells the clock, how it does now, and whether to.
--
-- KEYS  1 rests
-- ARGV  1 name
local condition = seen(redis.call('HGET', KEYS[1], ARGV[1]))
if not condition then return {NOW, '', 0} end
if condition.rest == 0 then return {NOW, written(condition), 0} end
local may = condition.till <= NOW
if may then
  condition.is_probed = 1
  condition.till = NOW + condition.rest
end
return {NOW, keep(KEYS[1], ARGV[1], condition), may and 1 or 0}
