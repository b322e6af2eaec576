-- include: _keys _reader
-- peer_scan: some of the peers, by HSCAN's rules: who is there from the first call to the last is returned, maybe twice.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any), 2 scan cursor, 3 about how many.
-- Returns: {refusal} or the header of _reader, the next scan cursor and {peer, record, data, …}.
local found = redis.call('HSCAN', C, ARGV[2], 'COUNT', ARGV[3])
local peers = {}
for i = 1, #found[2], 2 do
  local peer = found[2][i]
  peers[#peers + 1] = peer
  peers[#peers + 1] = found[2][i + 1]
  peers[#peers + 1] = redis.call('HGET', P, peer) or ''
end
out[#out + 1] = found[1]
out[#out + 1] = peers
return out
