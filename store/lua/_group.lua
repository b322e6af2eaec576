-- Changing a peer's groups. Needs _event, _record, _writer and _once.
-- ARGV[8]: the peer to change, ARGV[9]: the group.

-- regroup runs a group verb: change(list) returns the new list, or nil for no change, or nil and a refusal.
local function regroup(change)
  if first then return {'ok', first} end
  local rec = redis.call('HGET', C, ARGV[8])
  if not rec then return {'not_found'} end
  local data = redis.call('HGET', P, ARGV[8])
  local r = unpack_record(rec)
  local list = {}
  for g in string.gmatch(r.groups, '[^,]+') do list[#list + 1] = g end
  local new, why = change(list)
  if why then return {why} end
  if new then
    r.groups = table.concat(new, ',')
    redis.call('HSET', C, ARGV[8], pack_record(r))
    -- include: _updated(ARGV[8], r, data)
    -- include: _commit()
  end
  if remember then remember(r.groups) end
  return {'ok', r.groups}
end
