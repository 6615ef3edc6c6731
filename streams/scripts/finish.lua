-- Counts processed messages of a client and appends what answers them.
--
-- KEYS log, record
-- ARGV owner, done, done + count, entries
-- returns the last entry's position

local r = redis.call('HMGET', KEYS[2], 's', 'o', 'd', 'dp')
if not r[1] or r[1] == 'd' then
  return {'gone'}
end
if (r[2] or '') ~= ARGV[1] then
  return {'owner'}
end
local done = r[3] or '0'
if done ~= ARGV[2] then
  if done ~= ARGV[3] then
    return {'owner'}
  end
  return {'ok', r[4] or ZERO} -- a repetition
end
local position = ZERO
for i = 4, #ARGV do
  position = append(KEYS[1], ARGV[i])
  if not position then
    return {'nolog'}
  end
end
redis.call('HSET', KEYS[2], 'd', ARGV[3], 'dp', position)
return {'ok', position}
