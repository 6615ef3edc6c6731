-- What the scripts that return a record share; it is put in front of those.

local FIELDS = {
  'u', 't', 's', 'g', 'o', 'p', 'v', 'st', 'c', 'a', 'd', 'k', 'tk',
  'sn', 'm', 'pa', 'aa', 'n', 'w', 'f', 'si', 'ms', 'fp', 'ab', 'ev', 'he', 'dt', 'of',
}

-- The record's fixed fields by name, and in their order for the reply; nil and none
-- without a record.
local function load(key)
  if redis.call('EXISTS', key) == 0 then
    return nil, {}
  end
  local values = redis.call('HMGET', key, unpack(FIELDS))
  local r = {}
  for i, field in ipairs(FIELDS) do
    r[field] = values[i]
  end
  return r.s and r, values
end

-- Whether the client has abandoned a socket of the connection since it last took it over; see Records.Abandon.
local function abandoned(r)
  return tonumber(r.ab or 0) > tonumber(r.tk or 0)
end

-- How long the tombstone of such a connection is kept, and again from each sign that it is still needed.
local ABANDONED_MS = 86400000 -- a day

-- The record's groups, its user's, both with other fields between them, and the version of the latter. The groups are false if the
-- caller has these versions of them.
local function groups(key, r, user_key, version, user_version)
  local v = user_key and redis.call('HGET', user_key, 'v') or ZERO
  local ms = r.ms or '0'
  if ms == version and v == user_version and (ms ~= '0' or v ~= ZERO) then
    return false, false, v
  end
  return r.ms and redis.call('HGETALL', key) or {}, v ~= ZERO and redis.call('HGETALL', user_key) or {}, v
end
