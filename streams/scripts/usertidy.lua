-- Drops what is below the floor of a user's memberships, and the memberships when nothing is left. It is due as well when somebody
-- failed before the sets of groups were settled: it begins with that.
--
-- KEYS meta, the user's memberships, what is due
-- ARGV user, prefix of the hub's keys
-- returns from where on to settle the sets or '', the groups

local key, due, user = KEYS[2], KEYS[3], ARGV[1]
local lists = memberships(key)
local names = {}
for name in pairs(lists) do
  names[#names + 1] = name
end
table.sort(names)
local rest = settle(ARGV[2], user, names, '')
local stays = tidy(key, lists, redis.call('HGET', KEYS[1], 'floor') or ZERO)
if stays then
  redis.call('ZADD', due, now() + TIDY, due_name(user, ''))
else
  redis.call('ZREM', due, due_name(user, ''))
end
if redis.call('HLEN', key) == 1 then -- the version alone
  redis.call('DEL', key)
end
return {'ok', rest, names}
