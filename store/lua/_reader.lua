-- The state of the session that a read is about. Needs _keys.
-- ARGV[1]: session ('' if any).
-- include: _rate(redis.call('TIME'), #KEYS - 2)
local state = redis.call('HMGET', S, state) -- see store.stateFields
if not state.id then return {ARGV[1] ~= '' and 'session_ended' or 'no_session'} end
if ARGV[1] ~= '' and ARGV[1] ~= state.id then return {'session_ended'} end
-- What every read returns first: status, session, epoch, started_at, seq, n, peer_count.
local out = {'ok', state.id, state.ep, state.at, state.seq, state.n, num(redis.call('HLEN', C) - (state.hid or 0))}
