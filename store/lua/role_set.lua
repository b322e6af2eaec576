-- include: _keys _event _check_log _record _writer _once _role
-- role_set: give a peer another role, which its user keeps for the session. What it was asked to take is off.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 the peer, 9 role.
-- Returns: {refusal}, {'not_found'}, {'too_many'} or {'ok', record, data}.
local TARGET, ROLE = ARGV[8], ARGV[9]
local rec = redis.call('HGET', C, TARGET)
if not rec then return {'not_found'} end
local data = redis.call('HGET', P, TARGET)
if first then return {'ok', rec, data or ''} end
local r = unpack_record(rec)
local given = redis.call('HGET', V, 'u/' .. r.user)
if not given and redis.call('HLEN', V) >= 2 * MAX_PEERS then return {'too_many'} end

redis.call('HDEL', V, 'a/' .. TARGET)
if given ~= ROLE then redis.call('HSET', V, 'u/' .. r.user, ROLE) end
rec = take_role(TARGET, r, ROLE, data)
if remember then remember('') end
return {'ok', rec, data or ''}
