-- Moves a connection to state closing and appends its close entry.
--
-- KEYS log, record
-- ARGV entry, token
-- returns position

local r = redis.call('HMGET', KEYS[2], 's', 'ty', 'cp')
if r[1] == 'c' and r[2] == ARGV[2] and r[3] then
  return {'ok', r[3]} -- a repetition
end
if r[1] ~= 'n' and r[1] ~= 'o' then
  return {'gone'}
end
local position = append(KEYS[1], ARGV[1])
if not position then
  return {'nolog'}
end
redis.call('HSET', KEYS[2], 's', 'c', 'ty', ARGV[2], 'cp', position)
return {'ok', position}
