-- include: _keys _event _check_log _record _gone _hold
-- expire_peer: a peer did not come back in its grace, or did not renew the lease by which it joined over HTTP. Whoever sweeps
-- may call it, any number of times.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3 peer.
-- Returns: {'ok', 1 if the peer left by this call, else 0}.
local item = 'peer/' .. ROOM .. '/' .. ARGV[3]
local deadline = redis.call('ZSCORE', DUE, item)
if not deadline or tonumber(deadline) > now then return {'ok', 0} end
local rec = redis.call('HGET', C, ARGV[3])
local r = rec and unpack_record(rec)
if not r or r.inc ~= '' then
  redis.call('ZREM', DUE, item) -- its session ended without it, or it has a socket
  return {'ok', 0}
end
local till = held()
if till then
  redis.call('ZREM', DUE, item)
  redis.call('ZADD', DUE, num(till), item)
  return {'ok', 0}
end
local gone = redis.call('HLEN', GONE)
local ended
-- include: _leave(ARGV[3], r, 'timed_out', '-', '""')
note_gone(ROOM .. '/' .. ARGV[3], r, gone)
return {'ok', 1}
