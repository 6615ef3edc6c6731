-- What the scripts that return a record share; it is put in front of those.

-- The most fields of a record that is read whole: from about so many on it is cheaper to ask for those needed by name.
local SMALL = 24

-- The record's fields by name, and for the reply, which packs them: each with its value, if the record is small; else the fixed ones'
-- values in their order, and r.partly is true, for its groups are not among them. nil and none without a record.
local function load(key)
  local size = redis.call('HLEN', key)
  if size == 0 then
    return nil, {}
  end
  local r = {}
  if size <= SMALL then
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      r[fields[i]] = fields[i + 1]
    end
    return r.s and r, fields
  end
  local names = {
    'u', 't', 's', 'g', 'o', 'p', 'v', 'st', 'c', 'a', 'd', 'k', 'tk',
    'sn', 'm', 'pa', 'aa', 'n', 'w', 'f', 'si', 'ms', 'fp', 'ab', 'ev', 'he', 'dt', 'of', 'lr',
  }
  local values = redis.call('HMGET', key, unpack(names))
  for i, field in ipairs(names) do
    r[field] = values[i]
  end
  r.partly = true
  return r.s and r, values
end

-- Whether the client has abandoned a socket of the connection since it last took it over; see Records.Abandon.
local function abandoned(r)
  return tonumber(r.ab or 0) > tonumber(r.tk or 0)
end

-- How long the tombstone of such a connection is kept, and again from each sign that it is still needed.
local ABANDONED_MS = 86400000 -- a day

-- The record's groups, its user's, both with other fields between them, and the version of the latter. The groups are false if the
-- caller has these versions of them, the record's 1 if they are among its fields in the reply. Hashes are packed: a reply takes as long as
-- it has elements.
local function groups(key, r, user_key, version, user_version)
  local v = user_key and redis.call('HGET', user_key, 'v') or ZERO
  local ms = r.ms or '0'
  if ms == version and v == user_version and (ms ~= '0' or v ~= ZERO) then
    return false, false, v
  end
  local own = r.ms and (r.partly and cmsgpack.pack(redis.call('HGETALL', key)) or 1) or ''
  return own, v ~= ZERO and cmsgpack.pack(redis.call('HGETALL', user_key)) or '', v
end
