-- Moves records from one generation to another, if they were served last by a node, or
-- not at all yet, and are not older than what the node knows of them.
--
-- KEYS meta, records
-- ARGV from, to, node, the generation that no log has, and for each record: owner, answers

local from, to, node, none = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local m = redis.call('HMGET', KEYS[1], 'gen', 'prev')
local continued = m[1] == to and ' ' .. (m[2] or '') .. ' ' or ''

-- Who served it last; empty if nobody has yet.
local function server(owner, by, answers)
  if (owner or '') == '' and answers ~= '1' then -- the first poll's answer was empty
    return by or ''
  end
  return owner or ''
end

for i = 2, #KEYS do
  local owner, answers = ARGV[1 + 2 * i], ARGV[2 + 2 * i]
  local r = redis.call('HMGET', KEYS[i], 'g', 'o', 'ao', 'n')
  local last = server(r[2], r[3], r[4])
  local named = owner ~= '' and owner == last
  if r[1] == from or r[1] == to or r[1] and named and string.find(continued, ' ' .. r[1] .. ' ', 1, true) then
    local mine = last == '' or last == node or string.sub(last, 1, #node + 1) == node .. '.'
    if tonumber(r[4] or 0) < tonumber(answers) then
      redis.call('HSET', KEYS[i], 'g', none)
    elseif (owner == '' or named) and mine then
      redis.call('HSET', KEYS[i], 'g', to)
    end
  end
end
return {'ok'}
