-- What the scripts of connections' work share; it is put in front of those.
--
-- 'exec' of a hub is a hash: connection ID -> token of the worker that has its list, NOBODY if it waits for one.
-- A connection's work hash:
--
--   x         the context
--   n         number of the last item that was finished
--   b         calls in the background
--   c:<call>  number of the call's last reply

local NOBODY = '-'

local function keep(workers, worker, lease)
  if worker ~= '' then
    redis.call('ZADD', workers, now() + lease, worker)
  end
end

-- Adds items to a connection's list. nil without a log; else whether the list is the worker's.
local function enqueue(log, list, exec, id, worker, bell, items)
  local who = redis.call('HGET', exec, id)
  if who and who ~= worker and who ~= NOBODY and bell ~= '' and redis.call('LLEN', list) == 0 then
    if not append(log, bell) then
      return nil
    end
  end
  for _, item in ipairs(items) do
    redis.call('RPUSH', list, item)
  end
  if not who or (who == NOBODY and worker ~= '') then
    who = worker ~= '' and worker or NOBODY
    redis.call('HSET', exec, id, who)
  end
  return who == worker
end

-- Gives the list up when there is nothing to do, and forgets all if the connection has ended.
local function settle(list, exec, work, id, ended)
  if redis.call('LLEN', list) > 0 or tonumber(redis.call('HGET', work, 'b') or 0) > 0 then
    return
  end
  redis.call('HDEL', exec, id)
  if ended then
    redis.call('DEL', work, list)
  end
end
