-- Appends entries one after the other, some of them in bundles; see bundle.go.
--
-- Every entry has the position that follows on that of the one before it: the stream ID of a bundle is its last entry's.
--
-- KEYS log
-- ARGV entries and bundles, an entry first; the last may be a blank one
-- returns the first one's position

local call, log = redis.call, KEYS[1]
-- NOMKSTREAM: a lost log must not be made anew in silence.
local first = call('XADD', log, 'NOMKSTREAM', '*', 'e', ARGV[1])
if not first then
  return {'nolog'} -- nothing is half done
end
local dash = string.find(first, '-', 1, true)
local time, sequence = string.sub(first, 1, dash), tonumber(string.sub(first, dash + 1))
local exact = #first - dash < 15 -- numbers of Lua are doubles
for i = 2, #ARGV do
  local n = bundle_size(ARGV[i])
  if exact then
    sequence = sequence + (n or 1)
    call('XADD', log, time .. string.format('%.0f', sequence), 'e', ARGV[i])
  else
    -- The store counts by itself, and time stands still in a script.
    for k = 1, n or 1 do
      call('XADD', log, '*', 'e', n and bundle_entry(ARGV[i], k) or ARGV[i])
    end
  end
end
return {'ok', first}
