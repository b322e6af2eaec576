-- due: what a partition has that ends by time and is due.
-- KEYS: 1 due.
-- ARGV: 1 how many items at most.
-- Returns: {items due, milliseconds until the next one after them (0: more are due, -1: none)}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local at = string.format('%.0f', now)
local limit = tonumber(ARGV[1])
local items = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, limit + 1)
if #items > limit then
  items[#items] = nil
  return {items, 0}
end
local after = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. at, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
return {items, after[2] and tonumber(after[2]) - now or -1}
