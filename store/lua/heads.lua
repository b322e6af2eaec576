-- heads: where the logs of rooms of one partition stand.
-- KEYS: the s: of each room.
-- ARGV: none.
-- Returns: {epoch, seq, n, …}, three of each room; '' where there is no session.
local out = {}
for _, s in ipairs(KEYS) do
  local head = redis.call('HMGET', s, 'ep', 'seq', 'n')
  for i = 1, 3 do out[#out + 1] = head[i] or '' end
end
return out
