-- The snapshot of watched entries. Needs _keys. Of a 100ms client, which does not tell again what it watches, V keeps that: in
-- k/<peer>, its patterns with newlines between; S has in kb how many bytes of it the session has.
-- ARGV from i on: nothing (watch nothing), '*' (all entries; the caller picks by its patterns), or '=' and exact keys.
-- A value is returned as false where an exact key is absent.
local function watched(i)
  local out = {}
  if ARGV[i] == '*' then return redis.call('HGETALL', M) end
  for k = i + 1, #ARGV do
    out[#out + 1] = ARGV[k]
    out[#out + 1] = redis.call('HGET', M, ARGV[k])
  end
  return out
end

-- watched_by returns the entries that a kept set watches: all of them if it has a pattern that is no exact key.
local function watched_by(kept)
  local out = {}
  for key in string.gmatch(kept, '[^\n]+') do
    if string.sub(key, -1) == '*' then return redis.call('HGETALL', M) end
    out[#out + 1] = key
    out[#out + 1] = redis.call('HGET', M, key)
  end
  return out
end

-- kept_bytes returns how many bytes are kept in all if a peer's set becomes kept instead of old, and whether that is too much.
local function kept_bytes(kept, old)
  local bytes = tonumber(redis.call('HGET', S, 'kb') or 0) - #old + #kept
  return bytes, bytes > MAX_KEPT and #kept > #old
end

-- keep_watched keeps a peer's set in the place of another; bytes is what kept_bytes gave.
local function keep_watched(peer, kept, old, bytes)
  if kept == old then return end
  redis.call('HDEL', V, 'k/' .. peer) -- first, so that it succeeds when memory is full
  if kept ~= '' then redis.call('HSET', V, 'k/' .. peer, kept) end
  redis.call('HSET', S, 'kb', num(bytes))
end
