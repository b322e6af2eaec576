-- What of a session ends by time: X has its deadlines, and DUE the room with the earliest of them, so that the partition's
-- index has one item a room, which goes with the session. Needs _event.
local TIMES = 'time/' .. ROOM

-- ends sets the deadline (epoch ms, as text) of a member of X.
local function ends(member, at)
  redis.call('ZADD', X, at, member)
  local first = redis.call('ZSCORE', DUE, TIMES)
  if not first or tonumber(first) > tonumber(at) then redis.call('ZADD', DUE, at, TIMES) end
end

-- over reports whether a deadline has come; '-' is none.
local function over(at) return at ~= '-' and tonumber(at) <= now end
