-- The snapshot of watched entries. Needs _keys. See _keep, too.
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
