-- Extends the leases of connections and saves their cursors, unless the owner has left service: then only what it said last counts.
--
-- KEYS meta, log, live, the records
-- ARGV for each record: id, owner, lease, what to note (s: cursor and acked, h: heard, d: detached), cursor, acked, why it was left
-- returns the IDs of those refused

local _, _, _, last = state(KEYS[1], KEYS[2])
local time = now()
local refused = {}
for i = 4, #KEYS do
  local a = (i - 4) * 7
  local id, notes = ARGV[a + 1], ARGV[a + 4]
  local save, detached = string.find(notes, 's', 1, true), string.find(notes, 'd', 1, true)
  local r = redis.call('HMGET', KEYS[i], 's', 'o', 'dt')
  if not r[1] or r[1] == 'd' or (r[2] or '') ~= ARGV[a + 2] or (save and before(last, ARGV[a + 5])) then
    refused[#refused + 1] = id
  elseif detached or r[3] ~= r[2] then
    if save then
      redis.call('HSET', KEYS[i], 'c', ARGV[a + 5], 'a', ARGV[a + 6])
    end
    if string.find(notes, 'h', 1, true) then
      redis.call('HSET', KEYS[i], 'he', '1')
    end
    if detached then
      redis.call('HSET', KEYS[i], 'dt', ARGV[a + 2], 'lw', ARGV[a + 7] .. ' ' .. ARGV[a + 2])
    end
    redis.call('ZADD', KEYS[3], time + ARGV[a + 3], id)
  end
end
return {'ok', refused}
