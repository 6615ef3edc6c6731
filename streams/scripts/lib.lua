-- What the scripts share; it is put in front of each of them.
--
-- A position is the text of a stream ID, and numbers of Lua are doubles: positions
-- are compared as text, milliseconds and sequence apart, the longer being the larger.

local ZERO = '0-0'

local function less(a, b)
  if #a ~= #b then
    return #a < #b
  end
  return a < b
end

local function before(a, b)
  if a == b then
    return false
  end
  local i, j = string.find(a, '-', 1, true), string.find(b, '-', 1, true)
  local am, bm = string.sub(a, 1, i - 1), string.sub(b, 1, j - 1)
  if am ~= bm then
    return less(am, bm)
  end
  return less(string.sub(a, i + 1), string.sub(b, j + 1))
end

-- The store's clock, ms.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- The run ID of this process.
local function process()
  local info = redis.call('INFO', 'server')
  local _, i = string.find(info, 'run_id:', 1, true)
  return string.sub(info, i + 1, i + 40)
end

-- The log: generation and the process that made it (false without a log), floor, and
-- the last position ever given. That is the last entry's; the floor, when everything
-- is trimmed; or where the log was raised to.
local function state(meta, log)
  local m = redis.call('HMGET', meta, 'gen', 'run', 'floor', 'top')
  local floor = m[3] or ZERO
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  local last = newest and newest[1] or floor
  if m[4] and before(last, m[4]) then
    last = m[4]
  end
  return m[1], m[2], floor, last
end

-- Appends an entry. False without a log: a lost log must not be made anew in silence.
-- Scripts append before they write anything else, so that nothing is half done then.
local function append(log, entry)
  local position = redis.call('XADD', log, 'NOMKSTREAM', '*', 'e', entry)
  if position then
    blank_after(log, entry)
  end
  return position
end

-- A name as part of a key.
local function escape(name)
  return (string.gsub(name, '[^%w_.-]', function(c)
    return string.format('%%%02X', string.byte(c))
  end))
end

-- Sets of connections: 'u' those of a user, 'g' those in a group, as zsets in the order of the IDs. The names of all sets that
-- hold somebody are in an index of their own.
local function enlist(prefix, kind, name, id)
  local key = prefix .. kind .. ':' .. escape(name)
  if redis.call('ZADD', key, 0, id) == 1 and redis.call('ZCARD', key) == 1 then
    redis.call('ZADD', prefix .. 'all:' .. kind, 0, name)
  end
end

local function delist(prefix, kind, name, id)
  local key = prefix .. kind .. ':' .. escape(name)
  local last = redis.call('ZCARD', key) == 1 -- asked for before it is gone: see join.lua
  if redis.call('ZREM', key, id) == 1 and last then
    redis.call('ZREM', prefix .. 'all:' .. kind, name)
  end
end

-- Whether the last interval of a list, as in a record, is open.
local function is_open(list)
  return list and string.sub(list, -1) == ','
end

-- Whether a user is in a group.
local function user_in(prefix, user, name)
  return user ~= '' and is_open(redis.call('HGET', prefix .. 'ug:' .. escape(user), 'g:' .. name))
end
