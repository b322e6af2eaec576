-- include: _keys _event _record _writer
-- broadcast: one message to all, to roles or to one peer.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 audience ('!' all but the sender, 'r<role>,…', '@<peer>'), 9 body up to the timestamp.
-- Returns: {refusal}, {'not_found'} (no such peer) or {'ok', session, "<seq> <at>"}.
local refusal = fence()
if refusal then return {refusal} end
local first, full = repeated()
if first then return {'ok', session, first} end
if full then return {full} end
local extra = ''
if string.sub(ARGV[8], 1, 1) == '@' then
  local rec = redis.call('HGET', C, string.sub(ARGV[8], 2))
  if not rec then return {'not_found'} end
  extra = unpack_record(rec).user
end

local body = ARGV[9] .. at
if writer then
  -- include: _groups
  body = body .. ',"peer":{"peer_id":"' .. PEER .. '","role":"' .. writer.role .. '","groups":' .. groups_json(writer)
    .. ',"info":{"name":' .. writer.name .. ',"user_id":' .. writer.user .. '}}'
end
emit('msg', BY, '-', ARGV[8], extra, body)
commit()
local result = seqtext .. ' ' .. at
remember(result)
return {'ok', session, result}
