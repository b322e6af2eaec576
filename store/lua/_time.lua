-- What of a session ends by time: X has its deadlines, and DUE the room with the earliest of them, so that the partition's
-- index has one item a room, which goes with the session. Needs _event.
local TIMES = 'time/' .. ROOM
-- What has locks, or entries that end or are owned, may write all of these; most rooms have none. No wrong type: see _event.
if redis.call('EXISTS', K, W, X) > 0 then
  redis.call('HLEN', K)
  for _, key in ipairs({W, X, DUE}) do redis.call('ZCARD', key) end
end

-- ends sets the deadline (epoch ms, as text) of a member of X.
local function ends(member, at)
  redis.call('ZADD', X, at, member)
  local first = redis.call('ZSCORE', DUE, TIMES)
  if not first or tonumber(first) > tonumber(at) then redis.call('ZADD', DUE, at, TIMES) end
end

-- over reports whether a deadline has come; '-' is none.
local function over(at) return at ~= '-' and tonumber(at) <= now end
