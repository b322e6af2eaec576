-- Reading summaries of sessions, live and ended; see _sums.
-- KEYS: 1 rooms, 2 sums, 3 ended.
local ROOMS, SUMS, ENDED = KEYS[1], KEYS[2], KEYS[3]
-- The keys of the rooms, named as store.keyspace.room names them; they share the partition's slot.
local BASE = string.sub(ROOMS, 1, -6)

-- summary returns a session's summary and its peer_count; nothing if there is no such session (any more). That of a live
-- session is put together from its state, with - for what it has only at its end.
local function summary(id)
  local rec = redis.call('HGET', SUMS, id)
  if not rec or string.find(rec, ' ', 1, true) then return rec, 0 end
  local s = redis.call('HMGET', BASE .. 's:' .. rec, 'id', 'ep', 'at', 'seq', 'n', 'pc', 'pk', 'hid')
  if s[1] ~= id then return false, 0 end
  return rec .. ' ' .. s[2] .. ' ' .. s[3] .. ' - ' .. s[4] .. ' ' .. s[5] .. ' ' .. (s[6] or '0') .. ' ' .. (s[7] or '0') .. ' - -',
    redis.call('HLEN', BASE .. 'c:' .. rec) - tonumber(s[8] or 0)
end
