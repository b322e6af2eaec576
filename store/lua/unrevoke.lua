-- include: _partition _revoked
-- unrevoke: take a revocation back.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: 1 version, 2 id.
-- Returns: {'not_revoked'} or {'ok', the change as the nodes are told it}.
local ID = ARGV[2]
local lapse = redis.call('ZSCORE', LAPSES, ID)
if not lapse or tonumber(lapse) <= now then return {'not_revoked'} end
local before = version()
redis.call('HDEL', REVOKED, ID)
redis.call('ZREM', LAPSES, ID)
await_lapse()
return {'ok', tell_revoked(before, ID, '')}
