-- include: _partition
-- begin: a node begins an incarnation in a partition: from now on it may have peers with sockets there.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: 1 incarnation.
-- Returns: {'ok', now}.
redis.call('ZREM', NODES, ARGV[1]) -- first: peers come back in their grace also when memory is full
redis.call('ZADD', NODES, num(now + NODE_LEASE), ARGV[1])
return {'ok', now}
