-- The snapshot of watched entries. Needs _keys.
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
