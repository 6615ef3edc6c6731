-- Admits a request of a connection. The modes and their rules are those of OpenMode
-- and OpenRequest in store.go.
--
-- KEYS meta, log, live, record, the user's memberships (if there is a user)
-- ARGV mode, id, user, owner, create until, lease, lease while new, mark, force,
--      ticket, membership, moved entry, token of the call, 1 if a connection may be created, the user's membership, prefix of the
--      hub's keys, how long ago the request came (ms), 1 if the mark is unique, 1 if it may have continued,
--      of a POST that brings a handshake: its token, its answer, protocol, version
-- returns outcome, now, generation, floor, last position, record as it was and the fields that were set, each followed by its value,
--         groups, the user's, their version, 1 if a live owner was displaced;
--         of a connection that is new, and whose user is in no groups, the first five

local WEBSOCKET, EVENTS, POLL, POST, REATTACH = '1', '2', '3', '4', '5'
local CREATED, ATTACHED, TICKET, FIRST_POLL, UNDECIDED, FOUND, ABANDONED, HANDSHAKE, REPEATED = 1, 2, 3, 4, 5, 6, 7, 8, 9
local TIME_DIGITS = 13 -- see memory_open.go
local TRANSPORT = {[WEBSOCKET] = 'w', [EVENTS] = 's', [POLL] = 'l', [POST] = '', [REATTACH] = 'w'}

local meta, log, live, key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local mode, id, user, owner, moved, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[12], ARGV[13]
local gen, run, floor, last = state(meta, log)
if gen and run ~= process() then
  return {'unverified'}
end
local time = now()
local came = time - ARGV[17]
local r, values = load(key)

local changes = {}
local function set(field, value)
  r[field] = value
  changes[#changes + 1] = field
  changes[#changes + 1] = value
end

local function lease()
  redis.call('ZADD', live, time + (r.s == 'n' and ARGV[7] or ARGV[6]), id)
end

local displaced = 0
local function reply(outcome)
  if #changes > 0 then
    redis.call('HSET', key, unpack(changes))
  end
  local memberships = KEYS[5]
  if r.u ~= user then
    memberships = r.u ~= '' and ARGV[16] .. 'ug:' .. escape(r.u) or nil
  end
  local own, users, version = groups(key, r, memberships, ARGV[11], ARGV[15])
  if outcome == CREATED and version == ZERO then
    return {'ok', outcome, time, gen, floor, last} -- the caller knows the rest, and a reply costs as much as it is long
  end
  return {'ok', outcome, time, gen or '', floor, last, cmsgpack.pack(values, changes), own, users, version, displaced}
end

-- Commits the first poll's answer, which is empty, and nobody owns the connection.
-- The token tells a repetition of this very call from another poll.
local function first_poll()
  set('n', '1')
  set('w', '0')
  set('f', '0')
  set('m', ARGV[8])
  set('um', ARGV[18] == '1' and ARGV[8] or '')
  set('pa', came)
  set('aa', time)
  set('sn', r.c)
  set('o', '')
  set('fp', token)
  lease()
  return reply(FIRST_POLL)
end

-- Records the handshake that a POST brings, whose answer is there; see handshake.lua.
local function handshake(start)
  last = start
  set('s', 'o')
  set('p', ARGV[22])
  set('v', ARGV[23])
  set('st', start)
  set('ty', ARGV[20])
  lease()
  return reply(HANDSHAKE)
end

local function create()
  if mode == REATTACH or time > tonumber(ARGV[5]) then
    return {'gone'}
  end
  if ARGV[14] ~= '1' then
    return {'full'}
  end
  if not gen then
    return {'nolog'}
  end
  local start = ARGV[20] and append(log, ARGV[21])
  if start == false then
    return {'nolog'}
  end
  r = {}
  set('u', user)
  set('t', TRANSPORT[mode])
  set('s', 'n')
  set('g', gen)
  set('c', last)
  set('si', time)
  if user ~= '' then
    enlist(ARGV[16], 'u', user, id)
    if redis.call('EXISTS', KEYS[5]) == 1 then
      local flat = redis.call('HGETALL', KEYS[5])
      for i = 1, #flat, 2 do
        if string.sub(flat[i], 1, 2) == 'g:' and is_open(flat[i + 1]) then
          enlist(ARGV[16], 'g', string.sub(flat[i], 3), id)
        end
      end
    end
  end
  if mode == POLL then
    return first_poll()
  end
  set('o', mode ~= POST and owner or '')
  if start then
    return handshake(start)
  end
  lease()
  return reply(CREATED)
end

-- Before the rest is defined, which takes a tenth of the time that a new connection does.
if not r then
  return create()
end

-- Makes the caller the owner. Whoever it was before learns of it by an entry.
local function attach(outcome)
  if r.o ~= '' and r.o ~= owner and moved ~= '' then
    local p = append(log, moved)
    if not p then
      return {'nolog'}
    end
    last = p
    displaced = r.o ~= r.dt and 1 or 0
  end
  set('o', owner)
  lease()
  return reply(outcome or ATTACHED)
end

-- Whether both marks are times in milliseconds, and the first is the earlier.
local function sent_before(mark, other)
  return #mark == TIME_DIGITS and other and #other == TIME_DIGITS and mark < other
    and not string.find(mark .. other, '%D')
end

local function poll()
  if r.t == '' then
    if before(r.c, floor) then
      return {'gap'}
    end
    set('t', 'l')
    return first_poll()
  end
  if owner ~= '' and r.o == owner then
    return reply((redis.call('HGET', key, 'rp') or '') ~= '' and REPEATED or ATTACHED) -- a repetition
  end
  if r.fp == token then
    return reply(FIRST_POLL) -- a repetition
  end
  if ARGV[19] == '1' then
    local continued = redis.call('HGET', key, 'ct') or ''
    if r.o == '' and continued == owner .. ' ' .. r.n then
      return reply(UNDECIDED) -- the last answer is this poll's own, of a Continue whose reply was lost
    elseif string.sub(continued, 1, #owner + 1) == owner .. ' ' then
      return {'owner'} -- another poll has displaced it, or was answered since
    end
  end
  local mark, force = ARGV[8], ARGV[9] == '1'
  local um, om, oc, rp = r.um, r.om, r.oc, r.rp
  if r.partly then
    um, om, oc, rp = unpack(redis.call('HMGET', key, 'um', 'om', 'oc', 'rp'))
  end
  local unique, repeating = r.m ~= '' and um == r.m, (rp or '') ~= ''
  local theirs = r.o ~= '' and om
  if mark ~= '' and theirs == mark and came < tonumber(oc) then
    return {'owner'} -- the same poll, sent before that one
  end
  local yes = true
  if r.o == '' or repeating then
    yes = arrived(r, unique or r.o ~= '', mark, came, force)
  end -- else it was decided already when the poll that is displaced now was opened
  if yes == nil or not force and (sent_before(mark, r.m) or sent_before(mark, theirs)) then
    return reply(UNDECIDED)
  end
  local cursor = yes and r.sn or r.c
  if before(cursor, floor) then
    return {'gap'}
  end
  set('c', cursor)
  if not yes and r.n == '1' then
    return first_poll()
  end
  local repeats = not yes and mark ~= '' and mark == r.m
  if not repeats then
    set('sn', cursor)
  end
  if repeats ~= repeating then
    set('rp', repeats and r.n or '')
  end
  set('om', mark)
  set('oc', ARGV[18] == '1' and came or 0) -- 0: whether an equal one is the same is not known
  return attach(repeats and REPEATED or ATTACHED)
end

-- The client of a connection that is over has spoken on its socket: it has none that it has abandoned.
local function spoken()
  local ticket = tonumber(ARGV[10])
  if mode == REATTACH and ticket > tonumber(r.tk or 0) and ticket <= tonumber(r.k or 0) then
    redis.call('HSET', key, 'tk', ARGV[10])
  end
end

local function websocket()
  if r.s == 'n' then
    set('t', 'w')
    return attach()
  end
  if r.v ~= '2' then
    return {'conflict'}
  end
  if not r.he and not r.a then
    return {'unheard'}
  end
  if before(r.c, floor) then
    return {'gap'}
  end
  set('k', (r.k or 0) + 1)
  return reply(TICKET)
end

-- Notes, for people, when the client came back, whose socket it had before and why that was left; with the ticket, so that it is
-- known to be of another return when a node that does not note it has taken the connection over since.
local function came_back()
  local why, who = string.match(redis.call('HGET', key, 'lw') or '', '^(%a*) (.*)$')
  set('lr', ARGV[10] .. ' ' .. time .. ' ' .. (who == r.o and why or '') .. ' ' .. r.o)
end

local function reattach()
  if r.s ~= 'o' or r.v ~= '2' then
    spoken()
    return {'gone'}
  end
  local ticket, owners = tonumber(ARGV[10]), tonumber(r.tk or 0)
  if ticket <= owners and not (ticket == owners and r.o == owner) then
    return {'owner'}
  end
  if before(r.c, floor) then
    spoken()
    return {'gap'}
  end
  set('tk', ARGV[10])
  if ticket > owners then
    came_back()
  end
  return attach()
end

r.u = r.u or '' -- the tombstone of a record that was lost has none
if (r.of or r.u) ~= user then
  return {'gone'}
end
if mode == WEBSOCKET and abandoned(r) then
  if r.s == 'd' then
    redis.call('PEXPIRE', key, ABANDONED_MS)
  end
  return reply(ABANDONED)
end
if r.s == 'd' then
  spoken()
  return {'gone'}
end
if r.g ~= gen then
  return {'generation'}
end
if mode == POST then
  if r.t == 'w' then
    return {'transport'}
  end
elseif r.t ~= '' and r.t ~= TRANSPORT[mode] then
  return {'transport'}
end
if mode == POLL then
  return poll()
end
if r.s == 'c' then
  spoken()
  return {'gone'}
end
if mode == WEBSOCKET then
  return websocket()
elseif mode == REATTACH then
  return reattach()
elseif mode == EVENTS then
  if r.s == 'o' and r.t ~= '' then
    return {'conflict'}
  end
  set('t', 's')
  return attach()
end
if not ARGV[20] then
  return reply(FOUND)
end
if r.s ~= 'n' then
  return reply(redis.call('HGET', key, 'ty') == ARGV[20] and HANDSHAKE or FOUND) -- a repetition, or the client's messages
end
if ARGV[14] ~= '1' then
  return reply(FOUND) -- it needs room
end
local start = append(log, ARGV[21])
if not start then
  return {'nolog'}
end
return handshake(start)
