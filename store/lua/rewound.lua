-- include: _keys _event _check_log
-- rewound: the store has lost a change that a node has heard. The session goes on in a new log, under another epoch and with
--   seqs beyond all that were given; its first change tells the nodes, and its predecessor is the epoch. Nothing is done if
--   the log is another one by now or has the change after all.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3 epoch, 4 seq and 5 nonce of the change that was heard, 6 epoch of the new log.
-- Returns: {'ok', 1 if a new log began}.
redis.call('ZCARD', DUE) -- no wrong type: see _check_log
local HEARD, NEXT = tonumber(ARGV[4]), ARGV[6]
if not session or epoch ~= ARGV[3] then return {'ok', 0} end
local kept = last -- the nonce at that seq, nil if the log doesn't tell
if HEARD < seq then
  local oldest = seq - redis.call('LLEN', L) + 1
  kept = nil
  if HEARD >= oldest then kept = string.match(redis.call('LINDEX', L, num(HEARD - oldest)), '^%d+ (%S+)') end
end
if HEARD <= seq and (not kept or kept == ARGV[5]) then return {'ok', 0} end

-- No check comes after this line.
redis.call('UNLINK', L)
logbytes = 0
-- Who was told of a seq by a node that has not heard of this yet was told of one not far beyond.
seq = math.max(seq, HEARD) + REWIND_GAP
local was = epoch
redis.call('HSET', SUMS, 'e/' .. was, session) -- a cursor of the old log leads to a session that goes on
epoch, last = NEXT, NEXT
coming = num(seq + 1)
-- include: _emit('rewound', '-', '-', '0', was, '')
-- include: _commit('ep', epoch, 'was', (state.was or '') .. ' ' .. was)
return {'ok', 1}
