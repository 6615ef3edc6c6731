-- Returns a record that is not dead, with all its groups.
--
-- KEYS meta, log, record
-- returns outcome (found), now, generation, floor, last position, record, groups

local r, values = load(KEYS[3])
if not r or r.s == 'd' then
  return {'gone'}
end
local gen, _, floor, last = state(KEYS[1], KEYS[2])
return {'ok', 6, now(), gen or '', floor, last, values, groups(KEYS[3], r)}
