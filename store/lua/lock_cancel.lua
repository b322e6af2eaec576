-- include: _keys _event _check_log _record _writer _check_times _emits _time _lock
-- lock_cancel: a peer stops waiting for a lock, unless it has been given it meanwhile.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 lock.
-- Returns: {refusal}, {'lock_held', lock, its record or false} or {'ok', session, "<token> <expires_at>"}.
local NAME = ARGV[8]
local from, to = between(PEER .. '/q/' .. NAME)
for _, member in ipairs(redis.call('ZRANGEBYLEX', W, from, to)) do unqueue(string.sub(member, #PEER + 4), PEER) end
local l = current(NAME)
if not l or l.peer ~= PEER then return refuse('lock_held', NAME, l and l.rec) end
flush()
return {'ok', session, l.token .. ' ' .. l.expires}
