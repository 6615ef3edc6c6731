-- Moves records from one generation to another, if they were served last by a node, or
-- not at all yet.
--
-- KEYS records
-- ARGV from, to, node

local function served(owner, by, answers)
  local last = owner or ''
  if last == '' and answers ~= '1' then -- the first poll's answer was empty
    last = by or ''
  end
  return last == '' or last == ARGV[3] or string.sub(last, 1, #ARGV[3] + 1) == ARGV[3] .. '.'
end

for _, key in ipairs(KEYS) do
  local r = redis.call('HMGET', key, 'g', 'o', 'ao', 'n')
  if r[1] == ARGV[1] and served(r[2], r[3], r[4]) then
    redis.call('HSET', key, 'g', ARGV[2])
  end
end
return {'ok'}
