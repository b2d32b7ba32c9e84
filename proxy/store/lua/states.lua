-- The state of a stream.
--
-- KEYS  1 meta
-- Returns  nothing if unknown, else the state
local m = look(KEYS[1])
return m and told(m)
