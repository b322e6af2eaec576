-- include: _keys _event _check_log _writer _watch _keep
-- listen: what a 100ms client watches is kept for its return, and it is given the entries that it begins with.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 what is kept (patterns with newlines between, '' for none), 9… watched keys (see _watch).
-- Returns: {refusal} or {'ok', seq, {key, entry, …}}.
local old = redis.call('HGET', V, 'k/' .. PEER) or ''
local bytes, over = kept_bytes(ARGV[8], old)
if over then return {'too_large'} end
keep_watched(PEER, ARGV[8], old, bytes)
return {'ok', seqtext, watched(9)}
