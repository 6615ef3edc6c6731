-- Appends several entries, one after the other, of which some have keys.
--
-- What is remembered of keys is in a hash, so that one call reads it for all entries, and one writes it: most of what a keyed
-- append costs are calls. A hash expires as a whole. So there are two: the one is written to for as long as what is left of
-- its time is enough for a key; then it is put aside, where keys are only looked for, until it expires. A key is known for at
-- least as long as it must be, and for about twice as long at most.
--
-- KEYS log, the hash of keys, the one aside
-- ARGV ms to keep keys, 1 to write again what is found (a write is what one can wait for replicas with), then the key of each
--      entry, or '', then the sum of each, then the entries
-- returns for each entry, by blanks: its position; '=' and its position if it was appended before; '!' if its key came with
--      another sum

local call, log, hash, aside = redis.call, KEYS[1], KEYS[2], KEYS[3]
local n = (#ARGV - 2) / 3
local keys, sums, entries = 2, 2 + n, 2 + 2 * n -- what is before them in ARGV
local left = call('PTTL', hash)
local renew = left < tonumber(ARGV[1])
if renew and left > 0 and call('EXISTS', aside) == 0 then
  call('RENAME', hash, aside)
end
local found, older = call('HMGET', hash, unpack(ARGV, keys + 1, keys + n)), {}
if call('EXISTS', aside) == 1 then
  older = call('HMGET', aside, unpack(ARGV, keys + 1, keys + n))
end

-- Tables are filled that are large enough already: to grow them is a tenth of what the script takes.
local appended
local results, made, written, last = found, {}, {unpack(ARGV, 1, 2 * n)}, 0
for i = 1, n do
  local key = ARGV[keys + i]
  local known = found[i] or older[i]
  if known and ARGV[2] == '1' then
    call('HSET', found[i] and hash or aside, key, known)
  end
  known = known or made[key]
  if known then
    local position, sum = string.match(known, '^(%S+) (.*)$')
    results[i] = sum == ARGV[sums + i] and '=' .. position or '!'
  else
    local position
    local entry = ARGV[entries + i]
    if appended then
      position = call('XADD', log, '*', 'e', entry)
    else
      -- NOMKSTREAM: a lost log must not be made anew in silence.
      position = call('XADD', log, 'NOMKSTREAM', '*', 'e', entry)
      if not position then
        return {'nolog'} -- nothing is half done
      end
    end
    appended = entry
    results[i] = position
    if key ~= '' then
      local value = position .. ' ' .. ARGV[sums + i]
      made[key] = value
      written[last + 1], written[last + 2], last = key, value, last + 2
    end
  end
end
if appended then
  blank_after(log, appended)
end
if last > 0 then
  call('HSET', hash, unpack(written, 1, last))
  if renew then
    call('PEXPIRE', hash, 2 * ARGV[1])
  end
end
return {'ok', table.concat(results, ' ')}
