-- Adds what a client has sent to its connection's list.
--
-- KEYS log, record, list, exec, workers, the call's token
-- ARGV id, owner, 1 if numbered, done, done + count, worker, lease, limit, bell, ms to keep the token, items
-- returns 1 if the list is the worker's

local r = redis.call('HMGET', KEYS[2], 's', 'o', 'd')
local id, owner, worker = ARGV[1], ARGV[2], ARGV[6]
if not r[1] or r[1] == 'd' or (owner == '' and r[1] ~= 'o') then
  return {'gone'}
end
if owner ~= '' and (r[2] or '') ~= owner then
  return {'owner'}
end
local numbered, again = ARGV[3] == '1', false
if numbered then
  local done = r[3] or '0'
  again = done == ARGV[5] and done ~= ARGV[4]
  if done ~= ARGV[4] and not again then
    return {'owner'}
  end
else
  again = redis.call('EXISTS', KEYS[6]) == 1
end
if again then
  return {'ok', redis.call('HGET', KEYS[4], id) == worker and 1 or 0}
end
local items = {}
for i = 11, #ARGV do
  items[#items + 1] = ARGV[i]
end
local waiting = redis.call('LLEN', KEYS[3])
if waiting > 0 and #items > 0 and waiting + #items > tonumber(ARGV[8]) then
  return {'busy'}
end
local mine = false
if #items > 0 then
  mine = enqueue(KEYS[1], KEYS[3], KEYS[4], id, worker, ARGV[9], items)
  if mine == nil then
    return {'nolog'}
  end
  keep(KEYS[5], worker, ARGV[7])
end
if numbered then
  redis.call('HSET', KEYS[2], 'd', ARGV[5])
elseif #items > 0 then
  redis.call('SET', KEYS[6], '1', 'PX', ARGV[10])
end
return {'ok', mine and 1 or 0}
