-- include: _keys _event _check_log _record _gone _hold _grace
-- reap: a peer whose node was not heard of for a lease leaves. Whoever sweeps may call it, any number of times.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3 peer, 4 incarnation.
-- Returns: {'ok', 1 if the peer left by this call, else 0}.
local PEER, INC = ARGV[3], ARGV[4]
local rec = redis.call('HGET', C, PEER)
local r = rec and unpack_record(rec)
if not r or r.inc ~= INC then
  redis.call('SREM', SERVED .. INC, ROOM .. '/' .. PEER)
  return {'ok', 0}
end
-- The grace of some is longer than a lease. It runs from the last sign of their node.
local lapsed = redis.call('ZSCORE', DUE, 'node/' .. INC)
local till = math.max(tonumber(lapsed or now) - NODE_LEASE + grace_of(r), held() or 0)
if till > now then
  await(ROOM, PEER, r, till)
  return {'ok', 0}
end
local gone = redis.call('HLEN', GONE)
local ended
-- include: _leave(PEER, r, 'timed_out', '-', '""')
note_gone(ROOM .. '/' .. PEER, r, gone)
return {'ok', 1}
