-- include: _keys _event _check_log _record _writer _once
-- disconnect: remove a user's peers from a room.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 user (JSON string), 9 free text (JSON string), 10 how many at most.
-- Returns: {refusal} or {'ok', "<how many were removed> <1 if there may be more, else 0>"}.
local WHO, MOST = ARGV[8] .. '\n' .. ROOM, tonumber(ARGV[10])
if first then return {'ok', first} end
-- All that begins with the user, the room and a slash: see _leave.
local members, removed = redis.call('ZRANGEBYLEX', USERS, '[' .. WHO .. '/', '(' .. WHO .. '0', 'LIMIT', 0, MOST), 0
for _, member in ipairs(members) do
  local peer = string.sub(member, #WHO + 2)
  local rec = redis.call('HGET', C, peer)
  local r = rec and unpack_record(rec)
  if not r or r.user ~= ARGV[8] then
    redis.call('ZREM', USERS, member)
  else
    removed = removed + 1
    local ended
    -- include: _leave(peer, r, 'removed', BY, ARGV[9])
    -- include: _next
    if ended == 1 then return {'ok', num(removed) .. ' 0'} end
  end
end
local result = num(removed) .. (#members == MOST and ' 1' or ' 0')
if remember then remember(result) end
return {'ok', result}
