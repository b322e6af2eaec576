-- include: _keys _event _writer _once _entry
-- set: write one metadata entry.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 key, 9 value, 10 expected change_version ('' for any), 11 ttl (ms or ''), 12 owner
--   ('' for none), 13 lock and 14 its token ('' for none).
-- Returns: {refusal}, {'lock_held' or 'lock_lost', lock, its record or false}, {refusal, session, current entry
--   or false} or {'ok', session, "<seq> <at>"}; a repeat's also has the entry as it is now.
local KEY, VALUE, EXPECTED = ARGV[8], ARGV[9], ARGV[10]
if first then return {'ok', session, first, redis.call('HGET', M, KEY)} end
local old = redis.call('HGET', M, KEY)
local version, oldexp, oldowner, from = head_of(old)
local exp, owner, settled = '-', '-', nil
-- Most entries are for ever and nobody's, and no lock binds them.
if (state.bl or '') ~= '' or ARGV[13] ~= '' or ARGV[11] ~= '' or ARGV[12] ~= '' or oldexp ~= '-' or oldowner ~= '-' then
  -- include: _check_log _check_times _emits _record _time _lock _meta
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
local metabytes = tonumber(state.mb or 0)
local bytes, why = metabytes - weight(KEY, old, from) + #KEY + #VALUE, nil
if EXPECTED ~= '' and EXPECTED ~= version then
  why = 'version_conflict'
elseif not old and redis.call('HLEN', M) >= MAX_KEYS then
  why = 'too_many'
elseif bytes > MAX_METADATA and bytes > metabytes then
  why = 'too_large'
end
if why then
  -- include: _emits
  return refuse(why, session, old)
end

local rec, json, tail
-- include: _written(KEY, VALUE, BY, exp, owner)
-- include: _emit('meta', BY, '-', '*', '1', #json + #VALUE + #tail .. ' ' .. KEY .. '\n' .. json, VALUE, tail)
redis.call('HSET', M, KEY, rec)
if settled then settled() end
-- include: _commit('mb', num(bytes))
local result = seqtext .. ' ' .. at
if remember then remember(result) end
return {'ok', session, result}
