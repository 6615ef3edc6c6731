-- Raises the floor to the last entry at or before a position, and drops what is not
-- above it. Runs when memory is full, too: it is what makes room.
--
-- KEYS meta, log
-- ARGV position
-- returns floor, entries, bytes

local meta, log = KEYS[1], KEYS[2]
local floor = redis.call('HGET', meta, 'floor') or ZERO
local newest = redis.call('XREVRANGE', log, ARGV[1], '-', 'COUNT', 1)[1]
if newest then
  floor = newest[1]
  redis.call('HSET', meta, 'floor', floor)
  local kept = redis.call('XRANGE', log, '(' .. floor, '+', 'COUNT', 1)[1]
  if kept then
    redis.call('XTRIM', log, 'MINID', '=', kept[1])
  else
    redis.call('XTRIM', log, 'MAXLEN', '=', 0)
  end
end
return {'ok', floor, redis.call('XLEN', log), redis.call('MEMORY', 'USAGE', log) or 0}
