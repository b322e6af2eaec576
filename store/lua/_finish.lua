-- How a session ends: everything of it is removed in this one step, the nodes are told and a summary is kept. Needs _event. It
-- is given the reason, by whom and a free text. The deletions come first, so it succeeds when memory is full.
local reason, by, text = ...
redis.call('ZCARD', DUE) -- no wrong type: see _check_log
redis.call('UNLINK', S, P, M, L, OA, OB, K, Q, Z, W, X, V)
redis.call('ZREM', ROOMS, ROOM)
for old in string.gmatch(state.was or '', '%S+') do redis.call('HDEL', SUMS, 'e/' .. old) end -- see rewound
redis.call('ZREM', DUE, 'log/' .. ROOM, 'time/' .. ROOM, 'empty/' .. ROOM)
if redis.call('EXISTS', C) == 1 then
  -- include: _dead
  redis.call('RENAME', C, dead_key(session))
  redis.call('ZADD', DUE, num(now), 'dead/' .. ROOM .. '/' .. session)
end
-- include: _tell('end', '-', '-', '*', reason .. ' ' .. by .. ' ' .. text, '"session_id":"' .. session .. '","reason":"' .. reason .. '"')
redis.call('HSET', SUMS, 'e/' .. epoch, session, session, ROOM .. ' ' .. epoch .. ' ' .. state.at .. ' ' .. num(now) .. ' '
  .. seqtext .. ' ' .. last .. ' ' .. (state.pc or '0') .. ' ' .. (state.pk or '0') .. ' ' .. reason .. ' ' .. by)
redis.call('ZADD', ENDED, num(now), session)
local kept = redis.call('ZCARD', ENDED)
if kept == 1 then redis.call('ZADD', DUE, num(now + RETENTION), 'sums') end
if kept > MAX_SUMS then
  -- include: _sums
  for _, id in ipairs(redis.call('ZRANGE', ENDED, 0, kept - MAX_SUMS - 1)) do forget(SUMS, ENDED, id) end
end
