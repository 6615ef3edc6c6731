-- Renews a node's lease in a bucket.
--
-- KEYS the bucket's nodes
-- ARGV node, lease
-- returns process, now, number of nodes

local time = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', time)
redis.call('ZADD', KEYS[1], time + ARGV[2], ARGV[1])
return {'ok', process(), time, redis.call('ZCARD', KEYS[1])}
