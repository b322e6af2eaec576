-- include: _keys
-- log_trim: drop the changes of a log that are older than its age.
-- KEYS: the room's.
-- ARGV: 1 room.
-- Returns: {'ok'}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local item = 'log/' .. ARGV[1]
local deadline = redis.call('ZSCORE', DUE, item)
if not deadline or tonumber(deadline) > now then return {'ok'} end
local bytes = tonumber(redis.call('HGET', S, 'lb') or 0)
local dropped = 0
local oldest
while true do
  local text = redis.call('LINDEX', L, 0)
  if not text then break end
  oldest = tonumber(string.match(text, '^[^\n]*\n%S+ (%d+) '))
  if oldest + LOG_AGE > now or dropped >= LOG_EVENTS then break end
  redis.call('LPOP', L)
  bytes = bytes - #text
  dropped = dropped + 1
  oldest = nil
end
if dropped > 0 then redis.call('HSET', S, 'lb', num(bytes)) end
redis.call('ZREM', DUE, item) -- first, so that it succeeds when memory is full
if oldest then
  -- Not at once for the very next change: a log is swept a few times an age, however busy it is.
  redis.call('ZADD', DUE, num(math.max(oldest + LOG_AGE, now + LOG_AGE / 8)), item)
end
return {'ok'}
