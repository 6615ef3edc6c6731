-- What the scripts that change users' memberships share; it is put in front of those.
--
-- A user's memberships are a hash: 'g:<group>' the intervals as in a record, 'e:<group>' when the time of an open one passes (ms,
-- behind a '+' if it has no limit), 'v' the position of the last change. What is due is in one zset for the hub: '<length of the user's
-- name>:<user><group>', and without a group when the user is to be tidied up.

local TIDY = 600000 -- ms; userTidyAfter

local function due_name(user, group)
  return #user .. ':' .. user .. group
end

-- name -> intervals, and name -> when its time passes.
local function memberships(key)
  local lists, times, flat = {}, {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local kind, name = string.sub(flat[i], 1, 2), string.sub(flat[i], 3)
    if kind == 'g:' then
      lists[name] = flat[i + 1]
    elseif kind == 'e:' then
      times[name] = flat[i + 1]
    end
  end
  return lists, times
end

-- Where the last interval of a list became what it is.
local function newest_of(list)
  if not list then
    return ZERO
  end
  local join, leave = string.match(list, '([^,;]+),([^,;]*)$')
  return leave ~= '' and leave or join
end

-- Drops the intervals that ended at or before the floor. True if one that has ended stays.
local function tidy(key, lists, floor)
  local stays = false
  for name, list in pairs(lists) do
    local kept = {}
    for join, leave in string.gmatch(list, '([^,;]+),([^,;]*)') do
      if leave == '' or before(floor, leave) then
        kept[#kept + 1] = join .. ',' .. leave
        stays = stays or leave ~= ''
      end
    end
    local text = table.concat(kept, ';')
    if text == '' then
      redis.call('HDEL', key, 'g:' .. name)
    elseif text ~= list then
      redis.call('HSET', key, 'g:' .. name, text)
    end
  end
  return stays
end

-- Brings the sets of groups up to what some of a user's connections are in, from after on. Returns where to go on, or ''. It fails while a
-- cluster gives the slot to another server that has one of the keys: what the step is about must be written before, and the user be due.
local function settle(prefix, user, names, after)
  local limit = math.max(1, math.floor(1000 / math.max(1, #names)))
  local from = after == '' and '-' or '(' .. after
  local ids = redis.call('ZRANGEBYLEX', prefix .. 'u:' .. escape(user), from, '+', 'LIMIT', 0, limit)
  for _, name in ipairs(names) do
    local member = user_in(prefix, user, name)
    for _, id in ipairs(ids) do
      if member or is_open(redis.call('HGET', prefix .. 'c:' .. escape(id), 'g:' .. name)) then
        enlist(prefix, 'g', name, id)
      else
        delist(prefix, 'g', name, id)
      end
    end
  end
  return #ids == limit and ids[#ids] or ''
end

-- Settles what a step has written, of which it must be the end: until nothing is left to settle the user is due now, then to be tidied.
local function settle_written(prefix, user, names, due, time)
  redis.call('ZADD', due, time, due_name(user, ''))
  local rest = settle(prefix, user, names, '')
  if rest == '' then
    redis.call('ZADD', due, time + TIDY, due_name(user, ''))
  end
  return rest
end
