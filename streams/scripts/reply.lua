-- Appends what a call in the background has to say.
--
-- KEYS log, record, list, exec, work
-- ARGV id, worker, call, number, 1 if final, entries
-- returns 1 if the connection has ended, last position, where its client is known to be

local id, call = ARGV[1], 'c:' .. ARGV[3]
if redis.call('HGET', KEYS[4], id) ~= ARGV[2] then
  return {'owner'}
end
local r = redis.call('HMGET', KEYS[2], 's', 't', 'c', 'sn')
local ended = not r[1] or r[1] == 'd'
local before_this = redis.call('HGET', KEYS[5], call)
local position = ZERO
if before_this and tonumber(before_this) < tonumber(ARGV[4]) then
  if not ended then
    for i = 6, #ARGV do
      position = append(KEYS[1], ARGV[i])
      if not position then
        return {'nolog'}
      end
    end
  end
  if ARGV[5] == '1' then
    redis.call('HDEL', KEYS[5], call)
    redis.call('HINCRBY', KEYS[5], 'b', -1)
    settle(KEYS[3], KEYS[4], KEYS[5], id, ended)
  else
    redis.call('HSET', KEYS[5], call, ARGV[4])
  end
end
return {'ok', ended and 1 or 0, position, (r[2] == 'l' and r[4] or r[3]) or ZERO}
