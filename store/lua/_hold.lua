-- Whether anybody may be timed out. Needs now. The store's clock runs on while the store is away: who could not
-- be renewed meanwhile is not to blame, so for a lease and the grace after it nobody is timed out.

-- held returns until when nobody is, nil if somebody may be. BEAT says when the partition was last looked after.
local function held()
  local beat = redis.call('HMGET', BEAT, 'at', 'hold')
  local till, most = tonumber(beat[2] or 0), now + NODE_LEASE + GRACE
  -- One that is further off is of a clock that was ahead and has been set back.
  if till > most or beat[1] and now - tonumber(beat[1]) > NODE_LEASE / 2 then
    till = most
    redis.call('HDEL', BEAT, 'hold') -- first, so that it succeeds when memory is full
    redis.call('HSET', BEAT, 'hold', num(till))
  end
  if till > now then return till end
end
