-- include: _partition
-- orphans: some of those whom an ended incarnation has left behind. When nobody is left, it is forgotten.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: 1 incarnation, 2 how many at most.
-- Returns: {'ok', <room>/<peer>, …}.
local places = redis.call('SRANDMEMBER', SERVED .. ARGV[1], ARGV[2])
if #places == 0 then redis.call('ZREM', DUE, 'node/' .. ARGV[1]) end
return {'ok', unpack(places)}
