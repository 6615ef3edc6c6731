-- What the scripts that return a record share; it is put in front of those.

local FIELDS = {
  'u', 't', 's', 'g', 'o', 'p', 'v', 'st', 'c', 'a', 'd', 'k', 'tk',
  'sn', 'm', 'pa', 'aa', 'n', 'w', 'f', 'si', 'ms', 'fp',
}

-- The record's fixed fields by name, and in their order for the reply; nil without a
-- record.
local function load(key)
  local values = redis.call('HMGET', key, unpack(FIELDS))
  local r = {}
  for i, field in ipairs(FIELDS) do
    r[field] = values[i]
  end
  return r.s and r, values
end

-- The record's groups, with other fields between them; false if the caller has
-- this version of them.
local function groups(key, r, version)
  if not r.ms then
    return {}
  end
  if r.ms == version then
    return false
  end
  return redis.call('HGETALL', key)
end
