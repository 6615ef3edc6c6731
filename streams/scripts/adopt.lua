-- Gives a worker the lists whose workers' leases have passed, and those that nobody has; those that it has are named again.
--
-- KEYS exec, workers
-- ARGV worker, lease, id, cursor, limit
-- returns cursor, ids

local worker, time = ARGV[1], now()
keep(KEYS[2], worker, ARGV[2])
local ids = {}
local function adopt(id, who)
  if who ~= worker then
    local lease = who ~= NOBODY and redis.call('ZSCORE', KEYS[2], who)
    if lease and tonumber(lease) > time then
      return
    end
    redis.call('HSET', KEYS[1], id, worker)
  end
  ids[#ids + 1] = id
end

if ARGV[3] ~= '' then
  local who = redis.call('HGET', KEYS[1], ARGV[3])
  if who then
    adopt(ARGV[3], who)
  end
  return {'ok', '0', ids}
end
local page = redis.call('HSCAN', KEYS[1], ARGV[4], 'COUNT', ARGV[5])
for i = 1, #page[2], 2 do
  adopt(page[2][i], page[2][i + 1])
end
return {'ok', page[1], ids}
