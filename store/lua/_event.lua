-- The session's state, Redis's clock, and what the change that comes next has of them. Needs _keys. Scripts set `session` and
-- `epoch` themselves when they begin a session. A script tells of a change by _emit, one that may tell of several by _emits,
-- and ends by _commit.
local state = redis.call('HMGET', S, state) -- see store.stateFields
local session, epoch = state.id, state.ep
local seq, last, logbytes = tonumber(state.seq or 0), state.n or '-', tonumber(state.lb or 0)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- As text: now, the seq, and the seq and the nonce of the change that comes next.
local at, seqtext, coming, nonce = num(now), state.seq or '0', num(seq + 1), ARGV[2]
local composed, loglen = 0, 0
