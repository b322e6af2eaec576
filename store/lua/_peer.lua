-- What others see of a peer. Needs _event and _record.
-- include: _groups

-- peer_body is the members of the peer's JSON object, as hearth.Peer.AppendBody writes them.
local function peer_body(peer, r, data)
  if not data or data == '' then data = '""' end
  return '"peer_id":"' .. peer .. '","role":"' .. r.role .. '","groups":' .. groups_json(r) .. ',"joined_at":' .. r.joined
    .. ',"realtime":true,"tracks":{},"info":{"name":' .. r.name .. ',"data":' .. data .. ',"user_id":' .. r.user
    .. ',"type":"regular"}'
end

-- peer_extra is the extra line of events about a peer's place: its role and groups from there on.
local function peer_extra(r)
  if r.groups == '' then return r.role .. ' -' end
  return r.role .. ' ' .. r.groups
end

-- shown is the audience of an event about a peer, after the change: the one given, or nobody if the peer is hidden. A large
-- room tells only who listens to peers, and the nodes how many there are if the event changes that, by `by`. For a leave a
-- room is as large as it was: whose join was not told of, its leave isn't either. present is how many peers there are, if
-- that is known.
local function shown(r, audience, by, present)
  if string.find(r.flags, 'h', 1, true) then return '0' end
  local count = (present or redis.call('HLEN', C)) - unseen
  if count + (by == -1 and 1 or 0) <= LARGE_ROOM then return audience end
  return audience .. '~' .. (by and num(count) or '')
end
