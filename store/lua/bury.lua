-- include: _keys _record _dead
-- bury: forget where some of those were who were in a session that ended for all. Whoever sweeps may call it.
-- KEYS: the room's.
-- ARGV: 1 room, 2 session, 3 scan cursor, 4 about how many.
-- Returns: {'ok', the next scan cursor, 1 if there are more}.
local dead = dead_key(ARGV[2])
local found = redis.call('HSCAN', dead, ARGV[3], 'COUNT', ARGV[4])
for i = 1, #found[2], 2 do
  local peer, r = found[2][i], unpack_record(found[2][i + 1])
  local rec = redis.call('HGET', C, peer) -- it may be in the next session
  local now = rec and unpack_record(rec)
  if not now or now.user ~= r.user then redis.call('ZREM', USERS, r.user .. '\n' .. ROOM .. '/' .. peer) end
  local place = ROOM .. '/' .. peer
  if r.inc ~= '' and (not now or now.inc ~= r.inc) then redis.call('SREM', SERVED .. r.inc, place) end
  if r.inc == '' and (not now or now.inc ~= '') then redis.call('ZREM', DUE, 'peer/' .. place) end
  redis.call('HDEL', dead, peer)
end
if redis.call('EXISTS', dead) == 1 then return {'ok', found[1], 1} end
redis.call('ZREM', DUE, 'dead/' .. ROOM .. '/' .. ARGV[2])
return {'ok', '0', 0}
