-- Changes the memberships of a connection.
--
-- A group's field is the list of its intervals: "join,leave;join,", an empty leave
-- being one that has not come. 'go' counts the groups the connection is in, 'ci' the
-- intervals that have ended, and no one of these ended before 'cl': while the floor has not come there, nothing has to be tidied.
--
-- KEYS meta, log, record
-- ARGV id, verb, prefix of the hub's keys, entry, most groups, names
-- returns position, 1 if something changed

local JOIN, LEAVE_ALL = '1', '3'

local meta, log, key = KEYS[1], KEYS[2], KEYS[3]
local id, verb = ARGV[1], ARGV[2]
local r = redis.call('HMGET', key, 's', 'go', 'ci', 'ms', 'u', 'cl')
if r[1] ~= 'n' and r[1] ~= 'o' then
  return {'gone'}
end
local open, ended = tonumber(r[2] or 0), tonumber(r[3] or 0)
local oldest = ended > 0 and (r[6] or '') ~= '' and r[6] or nil

-- All the record's groups: name -> intervals.
local function all()
  local lists, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 2) == 'g:' then
      lists[string.sub(flat[i], 3)] = flat[i + 1]
    end
  end
  return lists
end

-- The groups named: name -> intervals (false if there are none).
local function named()
  local lists, fields = {}, {}
  if #ARGV == 5 then
    return lists
  end
  for i = 6, #ARGV do
    fields[i - 5] = 'g:' .. ARGV[i]
  end
  local values = redis.call('HMGET', key, unpack(fields))
  for i = 6, #ARGV do
    lists[ARGV[i]] = values[i - 5]
  end
  return lists
end

local lists = verb == LEAVE_ALL and all() or named()

local changed, newest = {}, ZERO
for name, list in pairs(lists) do
  if is_open(list) ~= (verb == JOIN) then
    changed[#changed + 1] = name
  elseif list then
    local join, leave = string.match(list, '([^,;]+),([^,;]*)$')
    local p = leave ~= '' and leave or join
    if before(newest, p) then
      newest = p
    end
  end
end
if #changed == 0 then
  return {'ok', newest, 0}
end
if verb == JOIN and open + #changed > tonumber(ARGV[5]) then
  return {'toomany'}
end

-- The keys that the caller could not name. While a cluster gives the slot to another server, one that is not here, but may be there, is
-- refused: that must not happen when there is an entry already, which the record would not know.
local keys = {ARGV[3] .. 'all:g', verb ~= JOIN and (r[5] or '') ~= '' and ARGV[3] .. 'ug:' .. escape(r[5]) or nil}
for _, name in ipairs(changed) do
  keys[#keys + 1] = ARGV[3] .. 'g:' .. escape(name)
end
redis.call('EXISTS', unpack(keys))

local position = append(log, ARGV[4])
if not position then
  return {'nolog'}
end

local writes = {}
for _, name in ipairs(changed) do
  local list = lists[name]
  if verb == JOIN then
    writes[name] = (list and list .. ';' or '') .. position .. ','
    enlist(ARGV[3], 'g', name, id)
  else
    writes[name] = list .. position
    if not user_in(ARGV[3], r[5] or '', name) then
      delist(ARGV[3], 'g', name, id)
    end
  end
end

-- Drops the intervals that ended at or before the floor: no cursor can be there.
local function tidy(floor)
  oldest = nil
  for name, list in pairs(all()) do
    local kept, before_floor = {}, false
    for join, leave in string.gmatch(writes[name] or list, '([^,;]+),([^,;]*)') do
      if leave ~= '' and not before(floor, leave) then
        before_floor, ended = true, ended - 1
      else
        kept[#kept + 1] = join .. ',' .. leave
        if leave ~= '' and (not oldest or before(leave, oldest)) then
          oldest = leave
        end
      end
    end
    if before_floor then
      writes[name] = table.concat(kept, ';')
    end
  end
end
if ended > 0 then
  local floor = redis.call('HGET', meta, 'floor') or ZERO
  if not (oldest and before(floor, oldest)) then
    tidy(floor)
  end
end
if verb == JOIN then
  open = open + #changed
else
  open, ended, oldest = open - #changed, ended + #changed, oldest or position
end

for name, list in pairs(writes) do
  if list == '' then
    redis.call('HDEL', key, 'g:' .. name)
  else
    redis.call('HSET', key, 'g:' .. name, list)
  end
end
redis.call('HSET', key, 'go', open, 'ci', ended, 'ms', (r[4] or 0) + 1, 'cl', oldest or '')
return {'ok', position, 1}
