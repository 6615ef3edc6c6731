-- Blank entries, as blank.go has them; it is put in front of the scripts that append.

local LARGE, BLANK = 4096, '\1\7\0\0\0\0\6\0\0\0\0\0\0'

-- To be called when an entry has been appended.
local function blank_after(log, entry)
  if #entry >= LARGE then
    redis.call('XADD', log, '*', 'e', BLANK)
  end
end
