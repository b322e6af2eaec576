-- include: _keys _event _record _writer _entry
-- set: write one metadata entry.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 key, 9 value, 10 expected change_version ('' for any), 11 ttl (ms or ''), 12 owner
--   ('' for none), 13 lock and 14 its token ('' for none).
-- Returns: {refusal}, {'lock_held' or 'lock_lost', lock, its record or false}, {'version_conflict', session, current entry
--   or false} or {'ok', session, "<seq> <at>"}; a repeat's also has the entry as it is now.
local KEY, VALUE, EXPECTED = ARGV[8], ARGV[9], ARGV[10]
local refusal = fence()
if refusal then return {refusal} end
local first, full = repeated()
if first then return {'ok', session, first, redis.call('HGET', M, KEY)} end
if full then return {full} end
local old = redis.call('HGET', M, KEY)
local version, oldexp, oldowner = head_of(old)
local exp, owner, settled = '-', '-', nil
-- Most entries are for ever and nobody's, and no lock binds them.
if bound ~= '' or ARGV[13] ~= '' or ARGV[11] ~= '' or ARGV[12] ~= '' or oldexp ~= '-' or oldowner ~= '-' then
  -- include: _check_log _check_times _time _lock _meta
  local keys = {KEY}
  if over(oldexp) then
    discard(keys, 'expired')
    old, version, oldexp, oldowner = false, '0', '-', '-'
  end
  local why, lock = barred(keys, PEER, ARGV[13], ARGV[14])
  if why then return refuse(why, lock and lock.name, lock and lock.rec) end
  exp, owner = life(ARGV[11], ARGV[12])
  settled = function() settle(KEY, oldexp, oldowner, exp, owner) end
end
if EXPECTED ~= '' and EXPECTED ~= version then return refuse('version_conflict', session, old) end
if not old and redis.call('HLEN', M) >= MAX_KEYS then return refuse('too_many') end
local bytes = metabytes - weight(KEY, old) + #KEY + #VALUE
if bytes > MAX_METADATA and bytes > metabytes then return refuse('too_large') end

local rec, json = entry_record(VALUE, BY, exp, owner), entry_json(KEY, VALUE, BY, exp, owner)
emit('meta', BY, '-', '*', '1', #json .. ' ' .. KEY .. '\n' .. json)
redis.call('HSET', M, KEY, rec)
if settled then settled() end
commit('mb', num(bytes))
local result = seqtext .. ' ' .. at
remember(result)
return {'ok', session, result}
