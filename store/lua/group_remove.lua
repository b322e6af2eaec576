-- include: _keys _event _check_log _record _writer _once _group
-- group_remove: take a peer out of a group; not being in it is no change.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 the peer to change, 9 group.
-- Returns: {refusal}, {'not_found'} or {'ok', groups with commas}.
return regroup(function(list)
  local kept = {}
  for _, g in ipairs(list) do
    if g ~= ARGV[9] then kept[#kept + 1] = g end
  end
  if #kept == #list then return nil end
  return kept
end)
