-- Records a handshake.
--
-- KEYS meta, log, live, record
-- ARGV id, owner, protocol, version, reply entry, 1 if refused, lease, token
-- returns the position where the connection starts

local log, live, key = KEYS[2], KEYS[3], KEYS[4]
local r = redis.call('HMGET', key, 's', 'o', 'st', 'ty')
if r[4] == ARGV[8] and r[1] ~= 'd' then
  return {'ok', r[3]} -- a repetition
end
if r[1] ~= 'n' then
  return {'gone'}
end
if ARGV[2] ~= '' and ARGV[2] ~= (r[2] or '') then
  return {'owner'}
end
local start
if ARGV[5] ~= '' then
  start = append(log, ARGV[5])
  if not start then
    return {'nolog'}
  end
else
  local _
  _, _, _, start = state(KEYS[1], log)
end
redis.call('HSET', key, 's', ARGV[6] == '1' and 'c' or 'o', 'p', ARGV[3], 'v', ARGV[4], 'st', start, 'ty', ARGV[8])
redis.call('ZADD', live, now() + ARGV[7], ARGV[1])
return {'ok', start}
