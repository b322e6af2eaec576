-- include: _keys _event _peer _writer _meta
-- set: write one metadata entry.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 key, 9 key (JSON string), 10 value, 11 expected change_version ('' for any).
-- Returns: {refusal}, {'version_conflict', session, current entry or false} or {'ok', session, "<seq> <at>"}; a repeat's
--   also has the entry as it is now.
local KEY, VALUE, EXPECTED = ARGV[8], ARGV[10], ARGV[11]
local refusal = fence()
if refusal then return {refusal} end
local first, full = repeated()
if first then return {'ok', session, first, redis.call('HGET', M, KEY)} end
if full then return {full} end
local old = redis.call('HGET', M, KEY)
if EXPECTED ~= '' and EXPECTED ~= version_of(old) then return {'version_conflict', session, old} end
if not old and redis.call('HLEN', M) >= MAX_KEYS then return {'too_many'} end
local before = tonumber(redis.call('HGET', S, 'mb') or 0)
local bytes = before - weight(KEY, old) + #KEY + #VALUE
if bytes > MAX_METADATA and bytes > before then return {'too_large'} end

redis.call('HSET', M, KEY, new_record(VALUE))
emit_meta({KEY}, {entry_json(ARGV[9], VALUE)})
commit('mb', num(bytes))
local result = num(seq) .. ' ' .. num(now)
remember(result)
return {'ok', session, result}
