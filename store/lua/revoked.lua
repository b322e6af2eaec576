-- include: _partition
-- revoked: the version of the revocations. (All of them are read by a command: a script that returns so much takes six times as
-- long.)
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: none.
-- Returns: {version ('' if there are none), now}.
return {redis.call('HGET', REVOKED, 'version') or '', now}
