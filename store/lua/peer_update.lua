-- include: _keys _event _check_log _record _writer _once
-- peer_update: a peer's name and data.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 the peer to change, 9 name (JSON string, '' to keep), 10 data (JSON string, '' to keep).
-- Returns: {refusal}, {'not_found'}, {'too_large'} or {'ok', record, data}.
local TARGET, NAME, DATA = ARGV[8], ARGV[9], ARGV[10]
local rec = redis.call('HGET', C, TARGET)
if not rec then return {'not_found'} end
local old = redis.call('HGET', P, TARGET)
if first then return {'ok', rec, old or ''} end
local r = unpack_record(rec)
if DATA == '""' then DATA = false elseif DATA == '' then DATA = old end
local before = tonumber(state.db or 0)
local bytes = before - (old and #old or 0) + (DATA and #DATA or 0)
if bytes > MAX_DATA and bytes > before then return {'too_large'} end

if (NAME ~= '' and NAME ~= r.name) or DATA ~= old then
  if NAME ~= '' then r.name = NAME end
  rec = pack_record(r)
  redis.call('HSET', C, TARGET, rec)
  if DATA ~= old then
    if DATA then redis.call('HSET', P, TARGET, DATA) else redis.call('HDEL', P, TARGET) end
  end
  -- include: _updated(TARGET, r, DATA)
  -- include: _commit('db', num(bytes))
end
if remember then remember('') end
return {'ok', rec, DATA or ''}
