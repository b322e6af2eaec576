-- include: _keys _event _check_log _writer _room
-- end: the session ends for all. What it costs doesn't depend on how many peers there are.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 free text (JSON string), 9 for how long the room is shut
--   then (ms; '' not at all).
-- Returns: {refusal} or {'ok', session}.
-- include: _finish('ended', BY, ARGV[8])
if ARGV[9] ~= '' then
  local texts = settings()
  local _, till = setting(texts.shut) -- it may be shut for longer already
  texts.shut = '1 ' .. num(math.max(till or 0, now + tonumber(ARGV[9])))
  keep_settings(texts)
end
return {'ok', session}
