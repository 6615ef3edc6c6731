-- Takes a user out of a group, or of all.
--
-- KEYS meta, log, the user's memberships, what is due
-- ARGV user, verb, group, 1 if only when its time has passed, entry, prefix of the hub's keys
-- returns position, 1 if something changed, from where on to settle the sets or '', the groups left

local LEAVE_ALL = '3'

local meta, log, key, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user, prefix = ARGV[1], ARGV[6]
local lists, times = memberships(key)
local time = now()

local names, newest = {}, ZERO
for name, list in pairs(lists) do
  if ARGV[2] == LEAVE_ALL or name == ARGV[3] then
    if is_open(list) then
      names[#names + 1] = name
    elseif before(newest, newest_of(list)) then
      newest = newest_of(list)
    end
  end
end
if ARGV[4] == '1' and names[1] and tonumber(times[ARGV[3]]) > time then -- a '+' in front is a number's sign, too
  return {'ok', newest_of(lists[ARGV[3]]), 0, '', {}}
end
if #names == 0 then
  return {'ok', newest, 0, '', {}}
end
table.sort(names)
local position = append(log, ARGV[5])
if not position then
  return {'nolog'}
end
for _, name in ipairs(names) do
  lists[name] = lists[name] .. position
  redis.call('HSET', key, 'g:' .. name, lists[name])
  redis.call('HDEL', key, 'e:' .. name)
  redis.call('ZREM', due, due_name(user, name))
end
redis.call('HSET', key, 'v', position)
tidy(key, lists, redis.call('HGET', meta, 'floor') or ZERO)
return {'ok', position, 1, settle_written(prefix, user, names, due, time), names}
