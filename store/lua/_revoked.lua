-- The tokens that are revoked before they expire: REVOKED has a record each, `<kind> <revoked at> <until> <name>` (kind j: name is
-- the jti; u: the user_id), and its version, a nonce that is another after each change, none when it is empty. LAPSES has when
-- each is over. Needs _partition.
local function version() return redis.call('HGET', REVOKED, 'version') or '' end

-- forget_lapsed forgets those that are over, so many at most.
local function forget_lapsed(most)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', LAPSES, '-inf', num(now), 'LIMIT', 0, most)) do
    redis.call('HDEL', REVOKED, id)
    redis.call('ZREM', LAPSES, id)
  end
end

-- await_lapse has the sweep come when the next one is over.
local function await_lapse()
  redis.call('ZREM', DUE, 'revoked') -- first, so that it succeeds when memory is full
  local first = redis.call('ZRANGE', LAPSES, 0, 0, 'WITHSCORES')[2]
  if first then
    redis.call('ZADD', DUE, num(tonumber(first)), 'revoked')
  else
    redis.call('UNLINK', REVOKED) -- the version as well
  end
end

-- tell_revoked gives what was changed its next version and tells the nodes, as store.ParseRevocationChange reads it.
local function tell_revoked(before, id, record)
  if redis.call('EXISTS', LAPSES) == 1 then redis.call('HSET', REVOKED, 'version', ARGV[1]) end
  local text = before .. '\n' .. version() .. '\n' .. id .. '\n' .. record
  redis.call(PUBLISH, REVOKED, text)
  return text
end
