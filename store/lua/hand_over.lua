-- include: _partition _record _grace
-- hand_over: sockets of a partition are gone. Their peers are members for the grace time, unless they have another connection by
-- now. Repeating it is harmless: it does not begin the time anew.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: three for each: room, peer, conn.
-- Returns: {'ok', how many are in their grace by this call}.
local parted = 0
for i = 1, #ARGV, 3 do
  local room, peer = ARGV[i], ARGV[i + 1]
  local rec = redis.call('HGET', BASE .. 'c:' .. room, peer)
  local r = rec and unpack_record(rec)
  if r and r.conn == ARGV[i + 2] and r.inc ~= '' then
    await(room, peer, r, now + grace_of(r))
    parted = parted + 1
  end
end
return {'ok', parted}
