-- Replaces what a node tells of itself, forgets what is too old, and returns the rest.
--
-- KEYS the reports
-- ARGV node, data, keep
-- returns node, age and data of each

local time = now()
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', time) .. ':' .. ARGV[2])
local all = redis.call('HGETALL', KEYS[1])
local reply = {'ok'}
for i = 1, #all, 2 do
  local colon = string.find(all[i + 1], ':', 1, true)
  local age = time - string.sub(all[i + 1], 1, colon - 1)
  if age > tonumber(ARGV[3]) then
    redis.call('HDEL', KEYS[1], all[i])
  else
    reply[#reply + 1] = all[i]
    reply[#reply + 1] = math.max(age, 0)
    reply[#reply + 1] = string.sub(all[i + 1], colon + 1)
  end
end
return reply
