-- Lists the groups that a user is in, but for those whose time has passed.
--
-- KEYS the user's memberships
-- returns group, position, time, and so on

local lists, times = memberships(KEYS[1])
local time, found = now(), {}
for name, text in pairs(times) do
  local at = tonumber(text)
  if at > time then
    found[#found + 1] = name
    found[#found + 1] = newest_of(lists[name])
    found[#found + 1] = string.format('%.0f', at)
  end
end
return {'ok', found}
