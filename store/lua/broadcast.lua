-- include: _keys _event _writer _once
-- broadcast: one message to all, to roles or to one peer.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 audience ('!' all but the sender, 'r<role>,…', '@<peer>'), 9 body up to the timestamp.
-- Returns: {refusal}, {'not_found'} (no such peer) or {'ok', session, "<seq> <at>"}.
if first then return {'ok', session, first} end
local extra = ''
if string.sub(ARGV[8], 1, 1) == '@' then
  local rec = redis.call('HGET', C, string.sub(ARGV[8], 2))
  if not rec then return {'not_found'} end
  -- include: _record
  extra = unpack_record(rec).user
end

local sender = ''
if writer then
  local user, role, list, name = string.match(writer, '^[^\n]*\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n')
  local groups
  -- include: _groups(list)
  sender = ',"peer":{"peer_id":"' .. PEER .. '","role":"' .. role .. '","groups":' .. groups
    .. ',"info":{"name":' .. name .. ',"user_id":' .. user .. '}}'
end
-- include: _emit('msg', BY, '-', ARGV[8], extra, ARGV[9], at, sender)
-- include: _commit()
local result = seqtext .. ' ' .. at
if remember then remember(result) end
return {'ok', session, result}
