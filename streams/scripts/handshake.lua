-- Records a handshake.
--
-- KEYS meta, log, live, record, list, exec, workers, work
-- ARGV id, owner, protocol, version, reply entry, 1 if refused, lease, token, 1 if events are wanted, context,
--      worker, the worker's lease, prefix of the hub's keys, 1 if the user changes, the user
-- returns the position where the connection starts, 1 if its work is the worker's

local log, live, key = KEYS[2], KEYS[3], KEYS[4]
local r = redis.call('HMGET', key, 's', 'o', 'st', 'ty', 'u')
if r[4] == ARGV[8] and r[1] ~= 'd' then
  return {'ok', r[3], redis.call('HGET', KEYS[6], ARGV[1]) == ARGV[11] and 1 or 0} -- a repetition
end
if r[1] ~= 'n' then
  return {'gone'}
end
if ARGV[2] ~= '' and ARGV[2] ~= (r[2] or '') then
  return {'owner'}
end
local start
if ARGV[5] ~= '' then
  start = append(log, ARGV[5])
  if not start then
    return {'nolog'}
  end
else
  local _
  _, _, _, start = state(KEYS[1], log)
end
redis.call('HSET', key, 's', ARGV[6] == '1' and 'c' or 'o', 'p', ARGV[3], 'v', ARGV[4], 'st', start, 'ty', ARGV[8])
redis.call('ZADD', live, now() + ARGV[7], ARGV[1])
if ARGV[9] ~= '1' and ARGV[14] ~= '1' then
  return {'ok', start, 0} -- before what else there may be to do is defined, which is an eighth of a handshake
end

-- Makes the connection the user's, and takes it out of the groups of the user before, unless it has joined them itself.
local function rename(old, user)
  local prefix, id = ARGV[13], ARGV[1]
  local function each(name, change)
    local flat = name ~= '' and redis.call('HGETALL', prefix .. 'ug:' .. escape(name)) or {}
    for i = 1, #flat, 2 do
      local group = string.sub(flat[i], 3)
      if string.sub(flat[i], 1, 2) == 'g:' and is_open(flat[i + 1]) and not is_open(redis.call('HGET', key, 'g:' .. group)) then
        change(prefix, 'g', group, id)
      end
    end
  end
  each(old, delist)
  if old ~= '' then
    delist(prefix, 'u', old, id)
  end
  redis.call('HSET', key, 'u', user, 'of', old)
  if user ~= '' then
    enlist(prefix, 'u', user, id)
  end
  each(user, enlist)
end

if ARGV[14] == '1' and ARGV[15] ~= r[5] then
  rename(r[5], ARGV[15])
end
local mine = false
if ARGV[9] == '1' and ARGV[6] ~= '1' then
  redis.call('HSET', key, 'ev', '1')
  redis.call('HSET', KEYS[8], 'x', ARGV[10])
  local sequence = redis.call('HINCRBY', KEYS[1], 'events', 1)
  mine = enqueue(log, KEYS[5], KEYS[6], ARGV[1], ARGV[11], '', {'c' .. sequence})
  keep(KEYS[7], ARGV[11], ARGV[12])
end
return {'ok', start, mine and 1 or 0}
