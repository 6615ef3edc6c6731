-- Commits the answer of a poll that follows on the last one, without opening it; see ContinueRequest in store.go.
--
-- KEYS meta, log, live, record
-- ARGV id, owner, where it ends, mark, how long ago the poll came (ms), lease, 1 if the mark is unique, generation, the last answer's
--      owner, its number, where it ended
-- returns the answer's number, 0 if the poll must be opened

local v = redis.call('HMGET', KEYS[4], 's', 'o', 'ao', 'n', 'sn', 'g', 'f', 'w', 'm', 'um', 'pa', 'aa', 'rp')
local r = {s = v[1], o = v[2], ao = v[3], n = v[4], sn = v[5], g = v[6], f = v[7], w = v[8], m = v[9], um = v[10], pa = v[11], aa = v[12]}
local owner, sent, mark, gen, from = ARGV[2], ARGV[3], ARGV[4], ARGV[8], ARGV[11]
if r.s ~= 'd' and r.ao == owner then
  return tonumber(r.n) -- a repetition
end
if r.s ~= 'o' or r.o ~= '' or r.g ~= gen or r.ao ~= ARGV[9] or r.n ~= ARGV[10] or r.sn ~= from then
  return 0
end
local time = now()
local came = time - ARGV[5]
-- Nobody owns the connection, and the mark is not the last answer's if that is unique: the poll was not overtaken, either.
if not arrived(r, r.m ~= '' and r.um == r.m, mark, came) then
  return 0
end
local known, run, floor, last = state(KEYS[1], KEYS[2])
if known ~= gen or run ~= process() or before(from, floor) or before(last, sent) then
  return 0
end
local n = r.n + 1
redis.call('HSET', KEYS[4], 'c', from, 'sn', sent, 'm', mark, 'um', ARGV[7] == '1' and mark or '', 'pa', came, 'aa', time, 'n', n,
  'ao', owner, 'ct', owner .. ' ' .. n)
if (v[13] or '') ~= '' then
  redis.call('HSET', KEYS[4], 'rp', '')
end
redis.call('ZADD', KEYS[3], time + ARGV[6], ARGV[1])
return n
