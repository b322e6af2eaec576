-- include: _keys _record _reader _watch
-- snapshot: what somebody who begins to watch a room is shown: some of the peers and the watched entries at one seq.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any), 2 peer of the reader ('' if none), 3 how many peers at most, 4 hidden ones too ('1'),
--   5… watched keys (see _watch).
-- Returns: {refusal} or the header of _reader, how many hidden peers there are, the reader's record (false if there is no
--   such peer), {peer, record, data, …} and {key, entry, …}.
local peers, want = {}, tonumber(ARGV[3])
if tonumber(out[7]) > LARGE_ROOM then want = math.min(want, LARGE_LIST) end
-- Whichever a scan meets first; a scan of a small room returns all of it.
local found = want > 0 and redis.call('HSCAN', C, '0', 'COUNT', num(want))[2] or {}
for i = 1, #found, 2 do
  if #peers >= 3 * want then break end
  if ARGV[4] == '1' or not string.find(unpack_record(found[i + 1]).flags, 'h', 1, true) then
    peers[#peers + 1] = found[i]
    peers[#peers + 1] = found[i + 1]
    peers[#peers + 1] = redis.call('HGET', P, found[i]) or ''
  end
end
out[#out + 1] = num(state.hid or 0)
out[#out + 1] = redis.call('HGET', C, ARGV[2])
out[#out + 1] = peers
out[#out + 1] = watched(5)
return out
