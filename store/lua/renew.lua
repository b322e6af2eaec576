-- include: _keys _event _record _writer
-- renew: a peer that joined over HTTP extends its lease.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence.
-- Returns: {refusal}, {'no_lease'} or {'ok', expires_at}.
local lease = unpack_record(writer).lease
if lease == '' then return {'no_lease'} end
local expires = num(now + tonumber(lease))
local item = 'peer/' .. ROOM .. '/' .. PEER
redis.call('ZREM', DUE, item) -- first: nobody is expelled because memory is full
redis.call('ZADD', DUE, expires, item)
return {'ok', expires}
