-- include: _keys _event _check_log _record _peer _base _writer _leave
-- leave: a peer's connection ends its membership. Repeating it is harmless: the fence refuses the second.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 reason.
-- Returns: {refusal} or {'ok', session ended (0/1)}.
local refusal = fence()
if refusal then return {refusal} end
return {'ok', depart(PEER, writer, ARGV[8], '-', '""')}
