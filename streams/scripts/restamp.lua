-- Moves records from one generation to another, if they were served last by a node, or
-- not at all yet, and are not older than what the node knows of them.
--
-- KEYS records
-- ARGV from, to, node, the generation that no log has, and for each record: owner, answers

local function served(owner, by, answers)
  local last = owner or ''
  if last == '' and answers ~= '1' then -- the first poll's answer was empty
    last = by or ''
  end
  return last == '' or last == ARGV[3] or string.sub(last, 1, #ARGV[3] + 1) == ARGV[3] .. '.'
end

for i, key in ipairs(KEYS) do
  local owner, answers = ARGV[3 + 2 * i], ARGV[4 + 2 * i]
  local r = redis.call('HMGET', key, 'g', 'o', 'ao', 'n')
  if r[1] == ARGV[1] or r[1] == ARGV[2] then
    if tonumber(r[4] or 0) < tonumber(answers) then
      redis.call('HSET', key, 'g', ARGV[4])
    elseif (owner == '' or owner == r[2]) and served(r[2], r[3], r[4]) then
      redis.call('HSET', key, 'g', ARGV[2])
    end
  end
end
return {'ok'}
