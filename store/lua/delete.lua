-- include: _keys _event _check_log _record _writer _once _check_times _emits _time _lock _entry _meta
-- delete: remove one metadata entry; an absent one is no change.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 key, 9 expected change_version ('' for any), 10 lock and 11 its token ('' for none).
-- Returns: {refusal}, {'lock_held' or 'lock_lost', lock, its record or false}, {'version_conflict', session, current entry
--   or false} or {'ok', session, "<seq> <at>"}; seq is 0 if nothing was there.
local KEY, EXPECTED = ARGV[8], ARGV[9]
if first then return {'ok', session, first} end
lapse({KEY})
local why, lock = barred({KEY}, PEER, ARGV[10], ARGV[11])
if why then return refuse(why, lock and lock.name, lock and lock.rec) end
local old = redis.call('HGET', M, KEY)
if EXPECTED ~= '' and EXPECTED ~= head_of(old) then return refuse('version_conflict', session, old) end

local result = '0 0'
if old then
  local json, counted = drop(KEY, old, BY)
  emit_meta(BY, {KEY}, {json})
  commit('mb', num(state.mb - counted))
  result = seqtext .. ' ' .. at
else
  flush()
end
if remember then remember(result) end
return {'ok', session, result}
