-- include: _keys _event _peer _writer _time _lock _meta _sums _leave
-- end: the session ends for all. What it costs doesn't depend on how many peers there are.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 free text (JSON string).
-- Returns: {refusal} or {'ok', session}.
local refusal = fence()
if refusal then return {refusal} end
finish('ended', BY, ARGV[8])
return {'ok', session}
