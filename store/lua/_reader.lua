-- The state of the session that a read is about. Needs _keys.
-- ARGV[1]: session ('' if any).
local state = redis.call('HMGET', S, 'id', 'ep', 'at', 'seq', 'n', 'hid')
local refusal
if not state[1] then
  refusal = ARGV[1] ~= '' and 'session_ended' or 'no_session'
elseif ARGV[1] ~= '' and ARGV[1] ~= state[1] then
  refusal = 'session_ended'
end

-- header is what every read returns first: status, session, epoch, started_at, seq, n, peer_count.
local function header()
  return {'ok', state[1], state[2], state[3], state[4], state[5],
    num(redis.call('HLEN', C) - tonumber(state[6] or 0))}
end
