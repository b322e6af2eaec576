-- Summaries of sessions. In SUMS a live session has "<room>"; an ended one "<room> <epoch> <started_at> <ended_at> <seq> <n>
-- <joins> <peak> <reason> <by or ->", and its epoch leads to it.

-- forget drops the summary of an ended session.
local function forget(sums, ended, id)
  local rec = redis.call('HGET', sums, id)
  redis.call('ZREM', ended, id)
  redis.call('HDEL', sums, id, rec and 'e/' .. (string.match(rec, '^%S+ (%S+)') or '') or id)
end
