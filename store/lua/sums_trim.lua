-- include: _sums
-- sums_trim: forget a partition's ended sessions whose retention time is over.
-- KEYS: 1 due, 2 sums, 3 ended, 4 no key (keyspace.whole).
-- ARGV: 1 how many at most.
-- Returns: {'ok'}.
local DUE, SUMS, ENDED = KEYS[1], KEYS[2], KEYS[3]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local before = string.format('%.0f', now - RETENTION)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ENDED, '-inf', before, 'LIMIT', 0, tonumber(ARGV[1]))) do
  forget(SUMS, ENDED, id)
end
local oldest = redis.call('ZRANGE', ENDED, 0, 0, 'WITHSCORES')[2]
redis.call('ZREM', DUE, 'sums') -- first, so that it succeeds when memory is full
if oldest then redis.call('ZADD', DUE, string.format('%.0f', tonumber(oldest) + RETENTION), 'sums') end
return {'ok'}
