-- include: _keys _event _check_log
-- room_empty: a session that lingered without peers ends. Whoever sweeps may call it, any number of times.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce.
-- Returns: {'ok', 1 if the session ended by this call, else 0}.
local deadline = redis.call('ZSCORE', DUE, 'empty/' .. ROOM)
if not deadline or tonumber(deadline) > now then return {'ok', 0} end
if not session or redis.call('HLEN', C) > 0 then
  redis.call('ZREM', DUE, 'empty/' .. ROOM)
  return {'ok', 0}
end
-- include: _finish('empty', '-', '""')
return {'ok', 1}
