-- A peer's record in C, and what others see of it. The record is ten fields, each ended by a newline: conn (secret of the
-- current connection), user (JSON string), role, groups (with commas), name (JSON string), incarnation of the node that
-- has its socket, flags (h: hidden, i: a 100ms client), lease (ms, of a peer that joined over HTTP), joined_at, seq of its
-- join. A peer has an incarnation, or a lease, or neither: then its socket is gone and its grace runs.
-- P holds its data (JSON string) if that is not empty.
local FIELD = '([^\n]*)\n'
local RECORD = '^' .. string.rep(FIELD, 10) .. '$'

local function unpack_record(rec)
  local r = {}
  r.conn, r.user, r.role, r.groups, r.name, r.inc, r.flags, r.lease, r.joined, r.seq = string.match(rec, RECORD)
  return r
end

local function pack_record(r)
  return r.conn .. '\n' .. r.user .. '\n' .. r.role .. '\n' .. r.groups .. '\n' .. r.name .. '\n' .. r.inc .. '\n'
    .. r.flags .. '\n' .. r.lease .. '\n' .. r.joined .. '\n' .. r.seq .. '\n'
end

-- away reports whether a peer's socket is gone, so that its grace runs.
local function away(r) return r.inc == '' and r.lease == '' end

local function groups_json(r)
  if r.groups == '' then return '[]' end
  return '["' .. string.gsub(r.groups, ',', '","') .. '"]'
end

-- peer_body is the members of the peer's JSON object, as hearth.Peer.AppendBody writes them.
local function peer_body(peer, r, data)
  if not data or data == '' then data = '""' end
  return '"peer_id":"' .. peer .. '","role":"' .. r.role .. '","groups":' .. groups_json(r) .. ',"joined_at":' .. r.joined
    .. ',"realtime":true,"tracks":{},"info":{"name":' .. r.name .. ',"data":' .. data .. ',"user_id":' .. r.user
    .. ',"type":"regular"}'
end

-- sender_body is the shorter form that goes with a message.
local function sender_body(peer, r)
  return '"peer":{"peer_id":"' .. peer .. '","role":"' .. r.role .. '","groups":' .. groups_json(r)
    .. ',"info":{"name":' .. r.name .. ',"user_id":' .. r.user .. '}}'
end

-- peer_extra is the extra line of events about a peer's place: its role and groups from there on.
local function peer_extra(r)
  if r.groups == '' then return r.role .. ' -' end
  return r.role .. ' ' .. r.groups
end

-- shown is the audience of an event about a peer, after the change: the one given, or nobody if the peer is hidden. A large
-- room tells only who listens to peers, and the nodes how many there are if the event changes that, by `by`. For a leave a
-- room is as large as it was: whose join was not told of, its leave isn't either.
local function shown(r, audience, by)
  if string.find(r.flags, 'h', 1, true) then return '0' end
  local count = redis.call('HLEN', C) - unseen
  if count + (by == -1 and 1 or 0) <= LARGE_ROOM then return audience end
  return audience .. '~' .. (by and num(count) or '')
end
