-- include: _keys _reader _watch
-- watch: the entries that a listener begins with.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any), 2… watched keys (see _watch).
-- Returns: {refusal} or the header of _reader and {key, entry, …}.
out[#out + 1] = watched(2)
return out
