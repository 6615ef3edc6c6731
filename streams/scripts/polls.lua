-- What the scripts of polls share; it is put in front of those.

local REPEATED_POLL, ABANDONED_POLL = 1000, 95000 -- ms; see memory_open.go

-- Whether the last answer has arrived, now that the next poll came, at a time and with a mark; nil if that cannot be told yet.
-- unique: the last poll's mark is.
local function arrived(r, unique, mark, came, force)
  if r.n == '1' and mark ~= '' and r.m ~= '' and mark ~= r.m then
    return true -- who has not had the first poll's answer sends no other
  end
  if r.f == r.n then
    return false
  end
  if r.m ~= '' and r.m == mark then
    if came - r.aa >= REPEATED_POLL or unique then
      return false
    end
    if r.w == r.n then
      return true
    end
    if force then
      return false
    end
    return nil
  end
  return came - r.pa < ABANDONED_POLL
end
