-- The session's state, Redis's clock, and the one way in which a change takes its seq, is logged and is published.
-- Needs _keys. Scripts set `session` and `epoch` themselves when they begin a session.
local NONCE = ARGV[2]
local state = redis.call('HMGET', S, 'id', 'ep', 'at', 'seq', 'n', 'lb', 'mb', 'bl', 'hid', 'turn', 'db', 'old')
local session, epoch, started = state[1], state[2], state[3]
local seq, last, logbytes = tonumber(state[4] or 0), state[5] or '-', tonumber(state[6] or 0)
local metabytes, bound = tonumber(state[7] or 0), state[8] or '' -- of all metadata; the locks that bind keys
local unseen = tonumber(state[9] or 0) -- how many peers are hidden
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- As text, each made once: of now, of seq, and of the seq that comes next.
local at, seqtext, coming = num(now), state[4] or '0', nil
local function upcoming()
  if not coming then coming = num(seq + 1) end
  return coming
end
local composed, loglen, committed = 0, 0, 0

-- compose gives the next change its seq and nonce and returns its text; hearth.Event says what the lines mean. A second
-- change of one script derives its nonce from the first.
local function compose(kind, peer, conn, audience, extra, body)
  local n = NONCE
  if composed > 0 then n = n .. composed end
  composed = composed + 1
  seqtext = upcoming()
  seq, coming = seq + 1, nil
  local text = seqtext .. ' ' .. n .. ' ' .. last .. ' ' .. epoch .. '\n'
    .. kind .. ' ' .. at .. ' ' .. peer .. ' ' .. conn .. ' ' .. audience .. '\n' .. extra .. '\n' .. body
  last = n
  return text
end

-- publish tells the nodes of a change that the log doesn't keep.
local function publish(text) redis.call(PUBLISH, E, text) end

-- emit composes a change, logs it and publishes it. A script whose first write this is need not have _check_log.
local function emit(kind, peer, conn, audience, extra, body)
  local text = compose(kind, peer, conn, audience, extra, body)
  loglen = redis.call('RPUSHX', L, text)
  if loglen == 0 then
    redis.call('ZCARD', DUE) -- no wrong type: see _check_log
    loglen = redis.call('RPUSH', L, text)
  end
  logbytes = logbytes + #text
  publish(text)
end

-- commit ends every script that has emitted: it trims the log and writes the session's state, together with the
-- fields of S given as field, value, ….
local function commit(...)
  committed = composed
  if loglen == composed then redis.call('ZADD', DUE, num(now + LOG_AGE), 'log/' .. ROOM) end
  if loglen >= LOG_EVENTS + LOG_SLACK then
    local old = redis.call('LPOP', L, num(loglen - LOG_EVENTS))
    for i = 1, #old do logbytes = logbytes - #old[i] end
    loglen = LOG_EVENTS
  end
  while logbytes > LOG_BYTES and loglen > 1 do
    logbytes = logbytes - #redis.call('LPOP', L)
    loglen = loglen - 1
  end
  redis.call('HSET', S, 'seq', seqtext, 'n', last, 'lb', num(logbytes), ...)
end

-- flush commits what has been emitted, if anything has: what the script met on its way that was over.
local function flush()
  if composed > committed then commit() end
end

-- refuse ends a script by a refusal. What it met on its way there that was over has ended all the same.
local function refuse(...)
  flush()
  return {...}
end
