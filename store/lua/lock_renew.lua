-- include: _keys _event _check_log _record _writer _once _check_times _emits _time _lock
-- lock_renew: the holder of a lock extends it.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 lock, 9 its token, 10 ttl (ms; '' for the one it has), 11 the holder ('' for any).
-- Returns: {refusal}, {'lock_lost', lock, its record or false} or {'ok', session, "<token> <expires_at>"}.
local NAME, TTL, HOLDER = ARGV[8], ARGV[10], ARGV[11]
redis.call('ZCARD', DUE) -- no wrong type: see _check_log
if first then return {'ok', session, first} end
local l = current(NAME)
if not l or l.token ~= ARGV[9] or HOLDER ~= '' and l.peer ~= HOLDER then
  return refuse('lock_lost', NAME, l and l.rec)
end
if TTL ~= '' then l.ttl = TTL end
l.expires = num(now + tonumber(l.ttl))
redis.call('ZREM', X, 'l/' .. NAME) -- first: no lock is lost because memory is full
keep_lock(l)
flush()
local result = l.token .. ' ' .. l.expires
if remember then remember(result) end
return {'ok', session, result}
