-- include: _keys _event _peer _writer _meta
-- delete: remove one metadata entry; an absent one is no change.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 key, 9 key (JSON string), 10 expected change_version ('' for any).
-- Returns: {refusal}, {'version_conflict', session, current entry or false} or {'ok', session, "<seq> <at>"}; seq is 0 if nothing was there.
local KEY, EXPECTED = ARGV[8], ARGV[10]
local refusal = fence()
if refusal then return {refusal} end
local first, full = repeated()
if first then return {'ok', session, first} end
if full then return {full} end
local old = redis.call('HGET', M, KEY)
if EXPECTED ~= '' and EXPECTED ~= version_of(old) then return {'version_conflict', session, old} end

local result = '0 0'
if old then
  local bytes = tonumber(redis.call('HGET', S, 'mb') or 0) - weight(KEY, old)
  redis.call('HDEL', M, KEY)
  emit_meta({KEY}, {entry_json(ARGV[9], nil)})
  commit('mb', num(bytes))
  result = num(seq) .. ' ' .. num(now)
end
remember(result)
return {'ok', session, result}
