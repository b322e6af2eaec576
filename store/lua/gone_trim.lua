-- include: _partition _gone
-- gone_trim: forget the 100ms clients of a partition that timed out long enough ago.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: none.
-- Returns: {'ok'}.
local all = redis.call('HGETALL', GONE)
for i = 1, #all, 2 do
  if not gone_lately(all[i + 1]) then redis.call('HDEL', GONE, all[i]) end
end
redis.call('ZREM', DUE, 'gone') -- first, so that it succeeds when memory is full
if redis.call('EXISTS', GONE) == 1 then redis.call('ZADD', DUE, num(now + GONE_TIME), 'gone') end
return {'ok'}
