-- Appends once per key.
--
-- KEYS the key's, log
-- ARGV sum, ms to keep the key, entry
-- returns position, 1 if it was appended before

local known = redis.call('GET', KEYS[1])
if known then
  local position, sum = string.match(known, '^(%S+) (.*)$')
  if sum ~= ARGV[1] then
    return {'reused'}
  end
  return {'ok', position, 1}
end
local position = append(KEYS[2], ARGV[3])
if not position then
  return {'nolog'}
end
redis.call('SET', KEYS[1], position .. ' ' .. ARGV[1], 'PX', ARGV[2])
return {'ok', position, 0}
