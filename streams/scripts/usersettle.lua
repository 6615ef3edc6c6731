-- Brings the sets of groups up to what some more of a user's connections are in.
--
-- KEYS what is due
-- ARGV user, from where on, prefix of the hub's keys, groups
-- returns from where to go on, or ''

local names = {}
for i = 4, #ARGV do
  names[#names + 1] = ARGV[i]
end
local rest = settle(ARGV[3], ARGV[1], names, ARGV[2])
if rest == '' then
  redis.call('ZADD', KEYS[1], now() + TIDY, due_name(ARGV[1], ''))
end
return {'ok', rest}
