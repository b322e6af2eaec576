-- Changing a peer's role. Needs _event and _record. In V a/<peer> is the role that it is asked to take, "<token> <by or -> <role>
-- <deadline>", and u/<user> the role that a user was given for the session; k/<peer> is _watch's.

-- take_role gives a peer, whose record r is, another role and tells all. It returns the new record.
local function take_role(peer, r, role, data)
  if r.role ~= role then
    r.role = role
    redis.call('HSET', C, peer, pack_record(r))
    -- include: _updated(peer, r, data)
    -- include: _commit()
  end
  return pack_record(r)
end
