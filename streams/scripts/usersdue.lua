-- Lists what is due.
--
-- KEYS what is due
-- ARGV limit
-- returns names of what is due, ms until more is or -1

local time = now()
local names = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', time, 'LIMIT', 0, ARGV[1])
local following = redis.call('ZRANGE', KEYS[1], #names, #names, 'WITHSCORES')
return {'ok', names, following[2] and math.max(0, following[2] - time) or -1}
