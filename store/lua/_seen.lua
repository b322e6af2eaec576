-- What others see of a peer: it makes `audience`, `extra` and `body` of an event about a peer's place. Needs _event.
-- It is given the peer, its record and its data, the audience, by how many peers the event changes the room, and how many there
-- are, if that is known.
local peer, r, data, told, by, present = ...
local groups
-- include: _groups(r.groups)
-- The members of the peer's JSON object, as hearth.Peer.AppendBody writes them.
body = '"peer_id":"' .. peer .. '","role":"' .. r.role .. '","groups":' .. groups .. ',"joined_at":' .. r.joined
  .. ',"realtime":true,"tracks":{},"info":{"name":' .. r.name .. ',"data":' .. (data and data ~= '' and data or '""')
  .. ',"user_id":' .. r.user .. ',"type":"regular"}'
-- Its role and groups from there on.
extra = r.role .. ' ' .. (r.groups == '' and '-' or r.groups)
-- The audience after the change: the one given, or nobody if the peer is hidden. A large room tells only who listens to peers,
-- and the nodes how many there are if the event changes that. For a leave a room is as large as it was: whose join was not told
-- of, its leave isn't either.
if string.find(r.flags, 'h', 1, true) then
  audience = '0'
else
  local count = (present or redis.call('HLEN', C)) - (state.hid or 0)
  audience = told
  if count + (by == -1 and 1 or 0) > LARGE_ROOM then audience = told .. '~' .. (by and num(count) or '') end
end
