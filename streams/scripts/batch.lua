-- Appends several entries, one after the other.
--
-- KEYS log, the keys of those that have one
-- ARGV for each entry: which of KEYS, or 0, sum, ms to keep the key, entry
-- returns for each entry: position, or false if its key came with another sum, 1 if it was appended before

local results = {}
for i = 1, #ARGV, 4 do
  local key = KEYS[tonumber(ARGV[i])]
  local position, sum, replayed = nil, nil, 0
  local known = key and redis.call('GET', key)
  if known then
    position, sum = string.match(known, '^(%S+) (.*)$')
    if sum ~= ARGV[i + 1] then
      position = false
    end
    replayed = 1
  else
    position = append(KEYS[1], ARGV[i + 3])
    if not position then
      return {'nolog'} -- at the first that appends: nothing is half done
    end
    if key then
      redis.call('SET', key, position .. ' ' .. ARGV[i + 1], 'PX', ARGV[i + 2])
    end
  end
  results[#results + 1] = position
  results[#results + 1] = replayed
end
return {'ok', results}
