-- include: _keys _event _check_log _record _writer _once _group
-- group_add: put a peer into a group; being in it already is no change.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 the peer to change, 9 group.
-- Returns: {refusal}, {'not_found'}, {'too_many'} or {'ok', groups with commas}.
return regroup(function(list)
  for _, g in ipairs(list) do
    if g == ARGV[9] then return nil end
  end
  if #list >= MAX_GROUPS then return nil, 'too_many' end
  list[#list + 1] = ARGV[9]
  return list
end)
