-- Commits a poll's answer and gives the owner up.
--
-- KEYS meta, log, live, record
-- ARGV id, owner, where it ends, mark, how long ago the poll came (ms), lease, 1 if the mark is unique
-- returns the answer's number

local r = redis.call('HMGET', KEYS[4], 's', 'o', 'ao', 'n', 'rp', 'sn')
if not r[1] or r[1] == 'd' then
  return {'gone'}
end
if (r[2] or '') ~= ARGV[2] then
  if r[3] == ARGV[2] then
    return {'ok', tonumber(r[4])} -- a repetition
  end
  return {'owner'}
end
if (r[5] or '') ~= '' and r[6] ~= ARGV[3] then
  return {'owner'} -- it is given again, and this is another
end
local _, _, _, last = state(KEYS[1], KEYS[2])
if before(last, ARGV[3]) then
  return {'beyond'}
end
local n, time = (r[4] or 0) + 1, now()
redis.call('HSET', KEYS[4], 'sn', ARGV[3], 'm', ARGV[4], 'pa', time - ARGV[5], 'aa', time, 'n', n, 'o', '', 'ao', ARGV[2],
  'um', ARGV[7] == '1' and ARGV[4] or '')
redis.call('ZADD', KEYS[3], time + ARGV[6], ARGV[1])
return {'ok', n}
