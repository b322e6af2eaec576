-- include: _keys _event _check_log _record _writer
-- leave: a peer's connection ends its membership. Repeating it is harmless: the fence refuses the second.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 reason.
-- Returns: {refusal} or {'ok', session ended (0/1)}.
local ended
-- include: _leave(PEER, unpack_record(writer), ARGV[8], '-', '""')
return {'ok', ended}
