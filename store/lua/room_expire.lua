-- include: _keys _event _check_log _room
-- room_expire: a setting of a room is over. Whoever sweeps may call it, any number of times.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nothing.
-- Returns: {'ok'}.
keep_settings(settings())
return {'ok'}
