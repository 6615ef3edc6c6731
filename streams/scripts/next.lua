-- Finishes an item of a connection's work and returns the next.
--
-- KEYS log, record, list, exec, work
-- ARGV id, worker, number that is finished, call that goes on, 1 to release, bell, entries
-- returns number, item, context, calls that go on

local id, worker, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('HGET', KEYS[4], id) ~= worker then
  return {'owner'}
end
local state = redis.call('HGET', KEYS[2], 's')
local ended = not state or state == 'd'
local done = tonumber(redis.call('HGET', KEYS[5], 'n') or 0)
if n > 0 and n ~= done then
  if n ~= done + 1 then
    return {'owner'}
  end
  if not ended then
    for i = 7, #ARGV do
      if not append(KEYS[1], ARGV[i]) then
        return {'nolog'}
      end
    end
  end
  redis.call('LPOP', KEYS[3])
  redis.call('HSET', KEYS[5], 'n', n)
  done = n
  if ARGV[4] ~= '' then
    redis.call('HSET', KEYS[5], 'c:' .. ARGV[4], '0')
    redis.call('HINCRBY', KEYS[5], 'b', 1)
  end
end
if ARGV[5] == '1' then
  if not append(KEYS[1], ARGV[6]) then
    return {'nolog'}
  end
  redis.call('HSET', KEYS[4], id, NOBODY)
  return {'ok', 0, '', '', {}}
end
local calls, context = {}, ''
if n == 0 then
  context = redis.call('HGET', KEYS[5], 'x') or ''
end
if n == 0 or tonumber(redis.call('HGET', KEYS[5], 'b') or 0) > 0 then
  for _, field in ipairs(redis.call('HKEYS', KEYS[5])) do
    if string.sub(field, 1, 2) == 'c:' then
      calls[#calls + 1] = string.sub(field, 3)
    end
  end
end
local item = redis.call('LINDEX', KEYS[3], 0)
if not item then
  settle(KEYS[3], KEYS[4], KEYS[5], id, ended)
  return {'ok', 0, '', context, calls}
end
return {'ok', done + 1, item, context, calls}
