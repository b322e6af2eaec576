-- include: _keys _reader
-- locks: all locks that are held.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any).
-- Returns: {refusal} or the header of _reader and {lock, record, how many wait, …}.
local locks = {}
local held = redis.call('HGETALL', K)
for i = 1, #held, 2 do
  locks[#locks + 1] = held[i]
  locks[#locks + 1] = held[i + 1]
  locks[#locks + 1] = redis.call('ZLEXCOUNT', Q, '[' .. held[i] .. '/', '(' .. held[i] .. '0')
end
out[#out + 1] = locks
return out
