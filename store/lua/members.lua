-- include: _partition _record
-- members: some of those who have their socket at an incarnation, as the store knows it.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: 1 incarnation, 2 scan cursor, 3 about how many.
-- Returns: {'ok', the next scan cursor, room, peer, conn, …}.
local found = redis.call('SSCAN', SERVED .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
local out = {'ok', found[1]}
for _, place in ipairs(found[2]) do
  local room, peer = string.match(place, '^([^/]+)/(.*)$')
  local rec = redis.call('HGET', BASE .. 'c:' .. room, peer)
  local r = rec and unpack_record(rec)
  if r and r.inc == ARGV[1] then
    for _, v in ipairs({room, peer, r.conn}) do out[#out + 1] = v end
  else
    redis.call('SREM', SERVED .. ARGV[1], place) -- its session ended for all, which does not look at each
  end
end
return out
