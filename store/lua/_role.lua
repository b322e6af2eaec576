-- Changing a peer's role. Needs _event and _peer. In V a/<peer> is the role that it is asked to take, "<token> <by or -> <role>
-- <deadline>", and u/<user> the role that a user was given for the session; k/<peer> is _watch's.

-- take_role gives a peer, whose record r is, another role and tells all. It returns the new record.
local function take_role(peer, r, role, data)
  if r.role ~= role then
    r.role = role
    redis.call('HSET', C, peer, pack_record(r))
    emit('update', peer, r.conn, shown(r, '*'), peer_extra(r), peer_body(peer, r, data))
    commit()
  end
  return pack_record(r)
end
