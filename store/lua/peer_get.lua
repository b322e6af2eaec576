-- include: _keys _reader
-- peer_get: one peer.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any), 2 peer.
-- Returns: {refusal}, {'not_found'} or the header of _reader, the record and the data ('' if none).
local rec = redis.call('HGET', C, ARGV[2])
if not rec then return {'not_found'} end
out[#out + 1] = rec
out[#out + 1] = redis.call('HGET', P, ARGV[2]) or ''
return out
