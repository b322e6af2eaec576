-- Peers whose socket is gone. Needs _record and now. Such a peer is a member still; its record has no incarnation and no
-- lease, and DUE has the deadline by which it has to be back.

local function grace_of(r) return string.find(r.flags, 'i', 1, true) and IMPLICIT_GRACE or GRACE end

-- await lets a peer be away until a time. What names it elsewhere goes first, so that it succeeds when memory is full.
local function await(room, peer, r, till)
  local place = room .. '/' .. peer
  redis.call('SREM', SERVED .. r.inc, place)
  r.inc = ''
  redis.call('HSET', BASE .. 'c:' .. room, peer, pack_record(r))
  redis.call('ZADD', DUE, num(till), 'peer/' .. place)
  -- A waiter whose connection breaks is dropped.
  local W = BASE .. 'w:' .. room
  for _, member in ipairs(redis.call('ZRANGEBYLEX', W, '[' .. peer .. '/q/', '(' .. peer .. '/q0')) do
    local waits = string.sub(member, #peer + 4)
    redis.call('ZREM', BASE .. 'q:' .. room, waits)
    redis.call('HDEL', BASE .. 'z:' .. room, waits)
    redis.call('ZREM', W, member)
  end
end
