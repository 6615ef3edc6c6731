-- Puts a user into a group.
--
-- KEYS meta, log, the user's memberships, what is due
-- ARGV user, group, ms to keep it or 0, entry, prefix of the hub's keys, most groups, most without a time limit, ms that those are kept
-- returns position, 1 if something changed, the group whose time has passed with it or '', from where on to settle the sets or ''

local meta, log, key, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local user, group, prefix = ARGV[1], ARGV[2], ARGV[5]
local time = now()

-- A membership with a time, that is renewed: whatever else the user is in.
local list = redis.call('HGET', key, 'g:' .. group)
if is_open(list) and ARGV[3] ~= '0' then
  local at = time + ARGV[3]
  redis.call('HSET', key, 'e:' .. group, string.format('%.0f', at))
  redis.call('ZADD', due, at, due_name(user, group))
  return {'ok', newest_of(list), 0, '', ''}
end
local lists, times = memberships(key)

local position, changed, rest = newest_of(lists[group]), 0, ''
if not is_open(lists[group]) then
  local open = 0
  for _ in pairs(times) do
    open = open + 1
  end
  if open >= tonumber(ARGV[6]) then
    return {'toomany'}
  end
  position = append(log, ARGV[4])
  if not position then
    return {'nolog'}
  end
  changed = 1
  tidy(key, lists, redis.call('HGET', meta, 'floor') or ZERO)
  list = redis.call('HGET', key, 'g:' .. group)
  redis.call('HSET', key, 'g:' .. group, (list and list .. ';' or '') .. position .. ',', 'v', position)
end

local function set_time(name, at, mark)
  times[name] = mark .. string.format('%.0f', at)
  redis.call('HSET', key, 'e:' .. name, times[name])
  redis.call('ZADD', due, at, due_name(user, name))
end

-- When the time of one without a limit passes; nil if it has a limit.
local function kept(text)
  if string.sub(text, 1, 1) == '+' then
    return tonumber(string.sub(text, 2))
  end
end

-- Sets the time, and returns the group whose time has passed with it, or ''.
local function keep()
  if ARGV[3] ~= '0' then
    set_time(group, time + ARGV[3], '')
    return ''
  end
  local at, count, oldest, oldest_at = time + ARGV[8], 0, nil, nil
  for name, text in pairs(times) do
    local other = kept(text)
    if other then
      at = math.max(at, other + 1) -- so that the times tell which is the newest
    end
  end
  set_time(group, at, '+')
  for name, text in pairs(times) do
    local other = kept(text)
    if other then
      count = count + 1
      if not oldest or other < oldest_at then
        oldest, oldest_at = name, other
      end
    end
  end
  if count <= tonumber(ARGV[7]) then
    return ''
  end
  set_time(oldest, time, '')
  return oldest
end

local evicted = keep()
if changed == 1 then
  rest = settle_written(prefix, user, {group}, due, time)
end
return {'ok', position, changed, evicted, rest}
