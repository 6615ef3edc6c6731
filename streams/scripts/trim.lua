-- Raises the floor to the last entry at or before a position, and drops what is not
-- above it. Runs when memory is full, too: it is what makes room.
--
-- KEYS meta, log
-- ARGV position
-- returns floor, entries, bytes

-- What a log takes is reckoned by the mean size of its oldest nodes, of five unless told otherwise: large entries after small ones would
-- count as small. A node has 4 KiB, or one large entry, and the blank one after it has another: so many are 200 MB at least, and looked at in
-- some milliseconds.
local COUNTED_NODES = 100000

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
return {'ok', floor, redis.call('XLEN', log), redis.call('MEMORY', 'USAGE', log, 'SAMPLES', COUNTED_NODES) or 0}
