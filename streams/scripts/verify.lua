-- Makes the log if there is none, gives it a new generation if the store's process
-- has changed or the caller finds a loss, and tells whether it still holds what the caller knows of it.
--
-- KEYS meta, log, the bucket's hubs
-- ARGV last, proof, the entry at proof, a new generation, its entry, hub, the generation that the caller knows or '',
--      the new generation's entry after a loss, how many generations to remember
-- returns generation, process, floor, last position, 1 if proven

local meta, log = KEYS[1], KEYS[2]
local gen, run, floor, last = state(meta, log)
local current = process()
local exists = redis.call('EXISTS', log) == 1
local known = ARGV[7]
local list = redis.call('HGET', meta, 'prev') or '' -- the generations that the present one continues

-- Whether nobody has found a loss since the caller's generation.
local function continues()
  return known == '' or not gen or known == gen or string.find(' ' .. list .. ' ', ' ' .. known .. ' ', 1, true) ~= nil
end

-- The list with the present generation, without the oldest.
local function remembered()
  local all = {}
  for g in string.gmatch(list .. ' ' .. gen, '%S+') do
    all[#all + 1] = g
  end
  return table.concat(all, ' ', math.max(1, #all - tonumber(ARGV[9]) + 1))
end

local function proven()
  local proof = ARGV[2]
  if proof == ZERO then
    return 1
  end
  if not exists then
    return 0
  end
  if not before(floor, proof) and not before(last, floor) then
    return 1
  end
  return holds(log, proof, ARGV[3]) and 1 or 0
end
local proof = proven() -- before the log is raised: a raised log proves nothing

local made = last
if not exists then
  -- Made empty, so that it can be raised before its first entry.
  made = redis.call('XADD', log, 'MAXLEN', '=', 0, '*', 'e', '')
end
if before(last, ARGV[1]) then
  last = ARGV[1]
end
if before(made, last) then
  redis.call('XSETID', log, last)
  redis.call('HSET', meta, 'top', last)
end

local continued = continues()
local lost = proof == 0 and continued and known ~= ''
if lost or not (exists and gen and run == current) then
  if exists and not gen then
    floor = last -- nothing is known of what was trimmed
  end
  local before, entry = '', ARGV[5]
  -- The caller's generation may be of a part that was lost, too, with the entry that told of a loss before it.
  local unknown = ARGV[2] == ZERO and not continued
  if not (exists and gen) or proof == 0 or unknown then
    entry = gen and ARGV[8] or ARGV[5]
  else
    before = remembered()
  end
  gen = ARGV[4]
  last = redis.call('XADD', log, '*', 'e', entry)
  redis.call('HSET', meta, 'gen', gen, 'run', current, 'floor', floor, 'prev', before)
  redis.call('SADD', KEYS[3], ARGV[6])
end
if not continued then
  proof = 0
end
return {'ok', gen, current, floor, last, proof}
