-- include: _keys _event _check_log _record _writer _once
-- remove: another peer or a server ends a peer's membership.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 the peer to remove, 9 free text (JSON string).
-- Returns: {refusal}, {'not_found'} or {'ok', session ended (0/1)}.
if first then return {'ok', tonumber(first)} end
local rec = redis.call('HGET', C, ARGV[8])
if not rec then return {'not_found'} end
local ended
-- include: _leave(ARGV[8], unpack_record(rec), 'removed', BY, ARGV[9])
if remember and ended == 0 then remember('0') end
return {'ok', ended}
