-- include: _keys _event _check_log _record _writer _once _role
-- role_accept: a peer takes the role that it was asked to take.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 who asked ('' for anybody), 9 role, 10 token.
-- Returns: {refusal}, {'no_request'} (none stands that is so) or {'ok', record, data}.
local data = redis.call('HGET', P, PEER)
if first then return {'ok', writer, data or ''} end
local token, by, role, deadline = string.match(redis.call('HGET', V, 'a/' .. PEER) or '', '^(%S+) (%S+) (%S+) (%d+)$')
if token ~= ARGV[10] or role ~= ARGV[9] or ARGV[8] ~= '' and ARGV[8] ~= by or tonumber(deadline) <= now then
  return {'no_request'}
end

redis.call('HDEL', V, 'a/' .. PEER)
local r = unpack_record(writer)
local given = 'u/' .. r.user -- what the user was given before is not what it comes back with
if redis.call('HEXISTS', V, given) == 1 then redis.call('HSET', V, given, role) end
local rec = take_role(PEER, r, role, data)
if remember then remember('') end
return {'ok', rec, data or ''}
