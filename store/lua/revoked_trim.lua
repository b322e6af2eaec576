-- include: _partition _revoked
-- revoked_trim: forget revocations that are over.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: 1 how many at most.
-- Returns: {'ok'}.
forget_lapsed(tonumber(ARGV[1]))
await_lapse()
return {'ok'}
