-- include: _keys _reader
-- get: one metadata entry.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any), 2 key.
-- Returns: {refusal} or the header of _reader and the entry (false if absent).
out[8] = redis.call('HGET', M, ARGV[2])
return out
