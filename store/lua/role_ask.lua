-- include: _keys _event _check_log _record _writer _once
-- role_ask: ask a peer to take another role. The newest request to a peer is the one that stands.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 the peer, 9 role, 10 token, 11 how long the request stands (ms).
-- Returns: {refusal}, {'not_found'} or {'ok'}.
local TARGET, ROLE, TOKEN = ARGV[8], ARGV[9], ARGV[10]
if first then return {'ok'} end
local rec = redis.call('HGET', C, TARGET)
if not rec then return {'not_found'} end

redis.call('HSET', V, 'a/' .. TARGET, TOKEN .. ' ' .. BY .. ' ' .. ROLE .. ' ' .. num(now + tonumber(ARGV[11])))
local body = '"role":"' .. ROLE .. '","token":"' .. TOKEN .. '"'
if PEER ~= '' then body = '"requested_by":"' .. PEER .. '",' .. body end
-- include: _emit('ask', TARGET, '-', '@' .. TARGET, unpack_record(rec).user, body)
-- include: _commit()
if remember then remember('') end
return {'ok'}
