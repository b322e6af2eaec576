-- include: _keys _reader
-- room: the state of a room's session.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any).
-- Returns: {refusal} or the header of _reader.
return out
