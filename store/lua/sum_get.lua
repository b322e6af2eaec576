-- include: _sum_read
-- sum_get: the summary of one session, by its id or the epoch of its log.
-- KEYS: 1 rooms, 2 sums, 3 ended, 4 no key (keyspace.whole).
-- ARGV: 1 session_id ('' if by epoch), 2 epoch.
-- Returns: {'no_summary'} or {'ok', session, summary, peer_count}.
local id = ARGV[1]
if id == '' then id = redis.call('HGET', SUMS, 'e/' .. ARGV[2]) end
local rec, count
if id then rec, count = summary(id) end
if not rec then return {'no_summary'} end
return {'ok', id, rec, count}
