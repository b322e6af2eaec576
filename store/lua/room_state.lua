-- include: _keys _event _check_log _room _room_reply
-- room_state: a room's settings and the state of its session, if it has one.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nothing.
-- Returns: see _room_reply.
-- include: _rate(clock, #KEYS - 2)
return room_reply()
