-- include: _partition _revoked
-- revoke: refuse a token, or all of a user that were issued until now. What is revoked already is so anew, and for no less long.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: 1 version, 2 id, 3 kind and 4 name (see _revoked), 5 until (ms; '' the default).
-- Returns: {refusal}, {'past'} or {'too_far'} (until is) or {'ok', 1 if it was not there, the change as the nodes are told it}.
local ID = ARGV[2]
local till = tonumber(ARGV[5]) or now + REVOCATION_TIME
if till <= now then return {'past'} end
if till > now + MAX_REVOCATION_TIME then return {'too_far'} end
forget_lapsed(100) -- they are no reason to refuse others
local old = redis.call('HGET', REVOKED, ID)
if not old and redis.call('ZCARD', LAPSES) >= MAX_REVOKED then return {'too_many_revoked'} end
if old then till = math.max(till, tonumber(string.match(old, '^%a %d+ (%d+)'))) end
local record = ARGV[3] .. ' ' .. num(now) .. ' ' .. num(till) .. ' ' .. ARGV[4]
local before = version()
redis.call('HSET', REVOKED, ID, record)
redis.call('ZADD', LAPSES, num(till + REVOKED_SLACK), ID)
await_lapse()
return {'ok', old and 0 or 1, tell_revoked(before, ID, record)}
