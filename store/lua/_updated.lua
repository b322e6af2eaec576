-- A peer is told of as it is from now on. Needs _event. It is given the peer, its record and its data.
local peer, r, data = ...
local audience, extra, body
-- include: _seen(peer, r, data, '*')
-- include: _emit('update', peer, r.conn, audience, extra, body)
