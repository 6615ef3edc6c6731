-- Moves records from one generation to another.
--
-- KEYS records
-- ARGV from, to

for _, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'g') == ARGV[1] then
    redis.call('HSET', key, 'g', ARGV[2])
  end
end
return {'ok'}
