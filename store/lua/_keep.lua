-- Keeping what a 100ms client watches: it does not tell again. In V is k/<peer>, its patterns with newlines between; S has in kb
-- how many bytes of it the session has. Needs _keys.

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
