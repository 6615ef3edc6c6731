-- Raises the number of the last answer that was written ('w'), or was not ('f'). That it was not says nothing of one that was
-- given before: the client may have that. A number beyond the last is of a record that was lost, or of an answer that is.
--
-- KEYS record
-- ARGV field, number

local r = redis.call('HMGET', KEYS[1], 's', ARGV[1], 'rp', 'n')
if r[1] and r[1] ~= 'd' and tonumber(ARGV[2]) > tonumber(r[2] or 0) and tonumber(ARGV[2]) <= tonumber(r[4] or 0)
  and not (ARGV[1] == 'f' and (r[3] or '') ~= '' and tonumber(ARGV[2]) > tonumber(r[3])) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return {'ok'}
