-- Returns a record that is not dead, with all its groups.
--
-- KEYS meta, log, record
-- ARGV prefix of the hub's keys
-- returns outcome (found), now, generation, floor, last position, record, groups, the user's, their version

local r, values = load(KEYS[3])
if not r or r.s == 'd' then
  return {'gone'}
end
local gen, _, floor, last = state(KEYS[1], KEYS[2])
local own, users, version = groups(KEYS[3], r, r.u ~= '' and ARGV[1] .. 'ug:' .. escape(r.u) or nil)
return {'ok', 6, now(), gen or '', floor, last, cmsgpack.pack(values), own, users, version}
