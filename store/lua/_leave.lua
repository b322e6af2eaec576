-- How a membership ends, and how a session ends with its last member. Needs _event, _peer, _base, _time, _lock,
-- _meta, _sums, _room and _dead.

for _, key in ipairs({DUE, USERS}) do redis.call('ZCARD', key) end -- no wrong type: see _event

-- finish removes everything of the session in this one step, tells the nodes and keeps a summary. The deletions come first,
-- so it succeeds when memory is full.
local function finish(reason, by, text)
  local counts = redis.call('HMGET', S, 'pc', 'pk', 'was')
  redis.call('UNLINK', S, P, M, L, OA, OB, K, Q, Z, W, X, V)
  redis.call('ZREM', ROOMS, ROOM)
  for old in string.gmatch(counts[3] or '', '%S+') do redis.call('HDEL', SUMS, 'e/' .. old) end -- see rewound
  redis.call('ZREM', DUE, 'log/' .. ROOM, TIMES, EMPTY_ITEM)
  if redis.call('EXISTS', C) == 1 then
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
    for _, id in ipairs(redis.call('ZRANGE', ENDED, 0, kept - MAX_SUMS - 1)) do forget(SUMS, ENDED, id) end
  end
end

-- let_go ends what goes with a peer that has left: its place among waiters, its entries, its locks.
local function let_go(peer)
  local from, to = between(peer)
  local held = redis.call('ZRANGEBYLEX', W, from, to)
  if #held == 0 then return end
  local keys, locks = {}, {}
  for _, member in ipairs(held) do
    local kind, name = string.match(member, '^[^/]+/(.)/(.*)$')
    if kind == 'q' then
      unqueue(name, peer)
    elseif kind == 'k' then
      keys[#keys + 1] = name
    else
      locks[#locks + 1] = name
    end
  end
  discard(keys, 'owner_left')
  for _, name in ipairs(locks) do free(lock_of(name), 'released') end
end

-- depart ends one membership; it returns 1 if the session ended with it, else 0.
local function depart(peer, r, reason, by, text)
  local data = redis.call('HGET', P, peer)
  local kept = redis.call('HSTRLEN', V, 'k/' .. peer) -- see _watch
  local databytes = tonumber(redis.call('HGET', S, 'db') or 0)
  if r.inc ~= '' then redis.call('SCARD', served(r.inc)) end -- no wrong type: see _event
  redis.call('HDEL', C, peer)
  redis.call('ZREM', USERS, r.user .. '\n' .. ROOM .. '/' .. peer)
  if r.inc ~= '' then
    redis.call('SREM', served(r.inc), ROOM .. '/' .. peer)
  else
    redis.call('ZREM', DUE, 'peer/' .. ROOM .. '/' .. peer)
  end
  local extra = reason .. ' ' .. by .. ' ' .. text
  local body = peer_body(peer, r, data) .. ',"reason":"' .. reason .. '"'
  local audience = shown(r, '!', -1)
  local empty = redis.call('HLEN', C) == 0
  local linger = empty and setting(redis.call('HGET', R, 'linger'))
  if empty and not linger then
    publish(compose('leave', peer, r.conn, audience, extra, body))
    finish('empty', '-', '""')
    return 1
  end
  if data then redis.call('HDEL', P, peer) end
  redis.call('HDEL', V, 'a/' .. peer, 'k/' .. peer)
  if kept > 0 then redis.call('HINCRBY', S, 'kb', num(-kept)) end
  if linger then redis.call('ZADD', DUE, num(now + linger), EMPTY_ITEM) end
  let_go(peer)
  emit('leave', peer, r.conn, audience, extra, body)
  if audience == '0' then unseen = unseen - 1 end
  commit('hid', num(unseen), 'db', num(databytes - (data and #data or 0)))
  return 0
end
