-- include: _keys _event _check_log _record _check_times _emits _time _lock _entry _meta
-- expire: entries and locks of a room whose time is over end. Whoever sweeps may call it, any number of times.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3 how many at most.
-- Returns: {'ok', 1 if more are over}.
if not session then
  redis.call('ZREM', DUE, TIMES)
  return {'ok', 0}
end
local keys = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', X, '-inf', num(now), 'LIMIT', 0, tonumber(ARGV[3]))) do
  local kind, name = string.match(member, '^(.)/(.*)$')
  if kind == 'k' then
    keys[#keys + 1] = name
  else
    current(name)
  end
end
discard(keys, 'expired')
flush()
local next = redis.call('ZRANGE', X, 0, 0, 'WITHSCORES')
redis.call('ZREM', DUE, TIMES) -- first, so that it succeeds when memory is full
if next[2] then redis.call('ZADD', DUE, next[2], TIMES) end
return {'ok', composed > 0 and next[2] and over(next[2]) and 1 or 0}
