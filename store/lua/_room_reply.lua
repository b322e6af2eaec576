-- How a room is. Needs _event and _room.

-- room_reply is what is returned of a room: status, its settings ('' for none, or those over) and, if it has a session,
-- session, epoch, started_at, seq, n and peer_count.
local function room_reply()
  local out, texts = {'ok'}, settings()
  for _, name in ipairs(SETTINGS) do out[#out + 1] = setting(texts[name]) and texts[name] or '' end
  if session then
    for _, v in ipairs({session, epoch, state.at, seqtext, last, num(redis.call('HLEN', C) - (state.hid or 0))}) do
      out[#out + 1] = v
    end
  end
  return out
end
