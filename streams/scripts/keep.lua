-- Renews a worker's lease in a bucket.
--
-- KEYS workers
-- ARGV worker, lease

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now() - 60000)
keep(KEYS[1], ARGV[1], ARGV[2])
return {'ok'}
