-- A peer's record in C. The record is ten fields, each ended by a newline: conn (secret of the
-- current connection), user (JSON string), role, groups (with commas), name (JSON string), incarnation of the node that
-- has its socket, flags (h: hidden, i: a 100ms client), lease (ms, of a peer that joined over HTTP), joined_at, seq of its
-- join. A peer has an incarnation, or a lease, or neither: then its socket is gone and its grace runs.
-- P holds its data (JSON string) if that is not empty.
local RECORD = '^([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n$'

local function unpack_record(rec)
  local conn, user, role, groups, name, inc, flags, lease, joined, seq = string.match(rec, RECORD)
  return {conn = conn, user = user, role = role, groups = groups, name = name, inc = inc, flags = flags, lease = lease,
    joined = joined, seq = seq}
end

local function pack_record(r)
  return r.conn .. '\n' .. r.user .. '\n' .. r.role .. '\n' .. r.groups .. '\n' .. r.name .. '\n' .. r.inc .. '\n'
    .. r.flags .. '\n' .. r.lease .. '\n' .. r.joined .. '\n' .. r.seq .. '\n'
end

-- away reports whether a peer's socket is gone, so that its grace runs.
local function away(r) return r.inc == '' and r.lease == '' end
