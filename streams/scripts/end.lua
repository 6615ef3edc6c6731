-- Ends a connection, exactly once. What is left of the record is its tombstone: the
-- fixed fields, for whoever repeats the call that made it. Runs when memory is full,
-- too: it makes room.
--
-- KEYS log, live, record, meta, list, exec, workers, work
-- ARGV id, owner, 1 if only expired, token, entry, ms of the tombstone, prefix of the hub's keys, worker,
--      the worker's lease, reason, bell, 1 if nobody may create it anew, though there is no record
-- returns outcome, position, record, the state it was in, 1 if its work is the worker's

local DONE, ALREADY, ALIVE, REFUSED = 1, 2, 3, 4

local log, live, key = KEYS[1], KEYS[2], KEYS[3]
local id, owner, token = ARGV[1], ARGV[2], ARGV[4]
local r, values = load(key)
if not r then
  redis.call('ZREM', live, id)
  if ARGV[12] == '1' then
    redis.call('HSET', key, 's', 'd')
    redis.call('PEXPIRE', key, ARGV[6])
  end
  return {'ok', ALREADY}
end
if r.s == 'd' then
  local grave = redis.call('HMGET', key, 'x', 'xs', 'xp')
  if token == '' or grave[1] ~= token then
    return {'ok', ALREADY}
  end
  return {'ok', DONE, grave[3], cmsgpack.pack(values), grave[2], redis.call('HGET', KEYS[6], id) == ARGV[8] and 1 or 0} -- a repetition
end
if owner ~= '' and r.o ~= owner then
  return {'ok', REFUSED}
end
if ARGV[3] == '1' then
  local deadline = redis.call('ZSCORE', live, id)
  if deadline and tonumber(deadline) > now() then
    return {'ok', ALIVE}
  end
end
local position = append(log, ARGV[5])
if not position then
  return {'nolog'}
end

-- Leaves the groups that a hash of memberships has open.
local function leave(hash, forget)
  local flat = redis.call('HGETALL', hash)
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 2) == 'g:' then
      if is_open(flat[i + 1]) then
        delist(ARGV[7], 'g', string.sub(flat[i], 3), id)
      end
      if forget then
        redis.call('HDEL', hash, flat[i])
      end
    end
  end
end

if r.u ~= '' then
  delist(ARGV[7], 'u', r.u, id)
  local memberships = ARGV[7] .. 'ug:' .. escape(r.u)
  if redis.call('EXISTS', memberships) == 1 then
    leave(memberships, false)
  end
end
if r.ms then
  leave(key, true)
end
redis.call('ZREM', live, id) -- not before: what failed half way is ended when it has expired
redis.call('HSET', key, 's', 'd', 'x', token, 'xs', r.s, 'xp', position)
redis.call('PEXPIRE', key, abandoned(r) and ABANDONED_MS or ARGV[6])
local mine = false
if redis.call('HGET', key, 'ev') == '1' then
  local sequence = redis.call('HINCRBY', KEYS[4], 'events', 1)
  mine = enqueue(log, KEYS[5], KEYS[6], id, ARGV[8], ARGV[11], {'d' .. sequence .. ' ' .. ARGV[10]})
  keep(KEYS[7], ARGV[8], ARGV[9])
else
  redis.call('HDEL', KEYS[6], id)
  redis.call('DEL', KEYS[5], KEYS[8])
end
return {'ok', DONE, position, cmsgpack.pack(values), r.s, mine and 1 or 0}
