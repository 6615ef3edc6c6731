-- Lists connections whose lease has passed.
--
-- KEYS live
-- ARGV limit

return {'ok', redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now(), 'LIMIT', 0, ARGV[1])}
