-- Bundles, as bundle.go has them; it is put in front of the scripts that know them.

-- The number of entries of a bundle; nil of an entry that is none.
local function bundle_size(stored)
  return string.byte(stored) == 66 and #stored > 5 and struct.unpack('>I4', stored, 2) or nil
end

-- The nth entry of a bundle; nil if it has fewer.
local function bundle_entry(bundle, n)
  local at = 6
  while at + 3 <= #bundle do
    local last = at + 3 + struct.unpack('>I4', bundle, at)
    if n == 1 then
      return string.sub(bundle, at + 4, last)
    end
    n, at = n - 1, last + 1
  end
end

-- Whether a log has an entry at a position, by itself or in a bundle.
local function holds(log, position, entry)
  local stored = redis.call('XRANGE', log, position, '+', 'COUNT', 1)[1]
  if not stored then
    return false
  end
  local id, data = stored[1], stored[2][2]
  if id == position and data == entry then
    return true
  end
  local n = bundle_size(data)
  local i, j = string.find(id, '-', 1, true), string.find(position, '-', 1, true)
  if not n or string.sub(id, 1, i) ~= string.sub(position, 1, j) then
    return false
  end
  n = n - (string.sub(id, i + 1) - string.sub(position, j + 1))
  return bundle_entry(data, n) == entry
end
