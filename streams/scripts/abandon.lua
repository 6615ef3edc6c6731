-- Notes that the socket with a ticket has been silent, and keeps the tombstone of a connection that has ended.
--
-- KEYS record
-- ARGV ticket

local r = load(KEYS[1])
if r and r.s ~= 'n' then
  if tonumber(ARGV[1]) > tonumber(r.ab or 0) then
    redis.call('HSET', KEYS[1], 'ab', ARGV[1])
    r.ab = ARGV[1]
  end
  if r.s == 'd' and abandoned(r) then
    redis.call('PEXPIRE', KEYS[1], ABANDONED_MS)
  end
end
return {'ok'}
