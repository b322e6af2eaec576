-- include: _partition _hold
-- tick: a node looks after a partition. It renews its incarnation, and learns what has ended by time: of nodes that were not
-- heard of for a lease the incarnation is ended here, and what is left of it is due.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: 1 incarnation ('' if it has none here), 2 how many due items at most (0: others see to them).
-- Returns: {'ok', 1 if the incarnation is renewed or none was given, 0 if it was ended, items due, milliseconds until the
--   next one after them (0: more are due, -1: none), 1 if nobody has seen to what is due for long, now}.
local INC, LIMIT = ARGV[1], tonumber(ARGV[2])
-- Deletions come first: nobody is expelled because memory is full.
local renewed = INC == '' or redis.call('ZREM', NODES, INC) == 1
if INC ~= '' and renewed then redis.call('ZADD', NODES, num(now + NODE_LEASE), INC) end
local swept = tonumber(redis.call('HGET', BEAT, 'swept') or 0)
local wait = held()
redis.call('HDEL', BEAT, 'at')
redis.call('HSET', BEAT, 'at', num(now))
if LIMIT == 0 then return {'ok', renewed and 1 or 0, {}, -1, now - swept > NODE_LEASE / 2 and 1 or 0, now} end
redis.call('HSET', BEAT, 'swept', num(now))
if not wait then
  for _, inc in ipairs(redis.call('ZRANGEBYSCORE', NODES, '-inf', num(now))) do
    local till = redis.call('ZSCORE', NODES, inc)
    redis.call('ZREM', NODES, inc) -- it is told so by its next renewal, and no join of it comes any more
    redis.call('ZADD', DUE, till, 'node/' .. inc)
  end
end
local items = redis.call('ZRANGEBYSCORE', DUE, '-inf', num(now), 'LIMIT', 0, LIMIT + 1)
if #items > LIMIT then
  items[#items] = nil
  return {'ok', renewed and 1 or 0, items, 0, 0, now}
end
local after = redis.call('ZRANGEBYSCORE', DUE, '(' .. num(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {'ok', renewed and 1 or 0, items, after[2] and tonumber(after[2]) - now or -1, 0, now}
