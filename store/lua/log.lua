-- include: _keys _reader
-- log: the changes after a seq. The log has no holes, so a seq is an index into it.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any), 2 seq, 3 how many at most.
-- Returns: {refusal} or the header of _reader, the seq of the oldest change that the log still has (one past the newest if it is empty), and the changes.
local seq, after, limit = tonumber(state.seq), tonumber(ARGV[2]), tonumber(ARGV[3])
local oldest = seq - redis.call('LLEN', L) + 1
local first = math.max(after + 1, oldest)
out[#out + 1] = num(oldest)
out[#out + 1] = limit > 0 and redis.call('LRANGE', L, num(first - oldest), num(first - oldest + limit - 1)) or {}
return out
