-- How a session ends. Needs _event.

redis.call('ZCARD', DUE) -- no wrong type: see _check_log

-- finish removes everything of the session in this one step, tells the nodes and keeps a summary. The deletions come first,
-- so it succeeds when memory is full.
local function finish(reason, by, text)
  local counts = redis.call('HMGET', S, 'pc', 'pk', 'was')
  redis.call('UNLINK', S, P, M, L, OA, OB, K, Q, Z, W, X, V)
  redis.call('ZREM', ROOMS, ROOM)
  for old in string.gmatch(counts[3] or '', '%S+') do redis.call('HDEL', SUMS, 'e/' .. old) end -- see rewound
  redis.call('ZREM', DUE, 'log/' .. ROOM, 'time/' .. ROOM, 'empty/' .. ROOM)
  if redis.call('EXISTS', C) == 1 then
    -- include: _dead
    redis.call('RENAME', C, dead_key(session))
    redis.call('ZADD', DUE, num(now), 'dead/' .. ROOM .. '/' .. session)
  end
  publish(compose('end', '-', '-', '*', reason .. ' ' .. by .. ' ' .. text,
    '"session_id":"' .. session .. '","reason":"' .. reason .. '"'))
  redis.call('HSET', SUMS, 'e/' .. epoch, session, session, ROOM .. ' ' .. epoch .. ' ' .. started .. ' ' .. num(now) .. ' '
    .. num(seq) .. ' ' .. last .. ' ' .. (counts[1] or '0') .. ' ' .. (counts[2] or '0') .. ' ' .. reason .. ' ' .. by)
  redis.call('ZADD', ENDED, num(now), session)
  local kept = redis.call('ZCARD', ENDED)
  if kept == 1 then redis.call('ZADD', DUE, num(now + RETENTION), 'sums') end
  if kept > MAX_SUMS then
    -- include: _sums
    for _, id in ipairs(redis.call('ZRANGE', ENDED, 0, kept - MAX_SUMS - 1)) do forget(SUMS, ENDED, id) end
  end
end
