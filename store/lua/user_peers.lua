-- include: _record
-- user_peers: where in a partition a user is. What the index says is checked against the rooms.
-- KEYS: 1 users, 2 no key (keyspace.whole).
-- ARGV: 1 user (JSON string), 2 room ('' for all).
-- Returns: {room, session, peer, record, data ('' if none), …}.
local USER, ROOM = ARGV[1], ARGV[2]
local BASE = string.sub(KEYS[1], 1, -6) -- the keys of the rooms share the partition's slot
local from, to = USER .. '\n', USER .. '\11' -- the byte after \n
if ROOM ~= '' then from, to = from .. ROOM .. '/', from .. ROOM .. '0' end
local out = {}
for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[1], '[' .. from, '(' .. to)) do
  local room, peer = string.match(string.sub(member, #USER + 2), '^([^/]+)/(.*)$')
  local rec = redis.call('HGET', BASE .. 'c:' .. room, peer)
  if rec and unpack_record(rec).user == USER then
    local session = redis.call('HGET', BASE .. 's:' .. room, 'id')
    local data = redis.call('HGET', BASE .. 'p:' .. room, peer) or ''
    for _, v in ipairs({room, session, peer, rec, data}) do out[#out + 1] = v end
  end
end
return out
