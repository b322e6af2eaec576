-- How a membership ends, and the session with its last member. Needs _event, _record, _peer and _base.

-- let_go ends what goes with a peer that has left: its place among waiters, its entries, its locks. held is what W has of it.
local function let_go(peer, held)
  -- include: _time _lock _entry _meta
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
  local present = redis.call('HLEN', C) - 1
  -- The range by name of all that begins with the peer and a slash: '0' comes right after '/'.
  local held = redis.call('ZRANGEBYLEX', W, '[' .. peer .. '/', '(' .. peer .. '0')
  local asked, kept = unpack(redis.call('HMGET', V, 'a/' .. peer, 'k/' .. peer)) -- see _role and _keep
  local databytes = tonumber(state[11] or 0)
  local data = databytes > 0 and redis.call('HGET', P, peer)
  -- No wrong type: see _check_log. Of USERS the first write tells.
  if r.inc ~= '' then redis.call('SCARD', served(r.inc)) else redis.call('ZCARD', DUE) end
  if #held > 0 then
    -- include: _check_times
  end
  local linger
  if present == 0 then
    -- include: _room
    redis.call('ZCARD', DUE)
    linger = setting(redis.call('HGET', R, 'linger'))
  end
  redis.call('ZREM', USERS, r.user .. '\n' .. ROOM .. '/' .. peer)
  redis.call('HDEL', C, peer)
  if r.inc ~= '' then
    redis.call('SREM', served(r.inc), ROOM .. '/' .. peer)
  else
    redis.call('ZREM', DUE, 'peer/' .. ROOM .. '/' .. peer)
  end
  local extra = reason .. ' ' .. by .. ' ' .. text
  local body = peer_body(peer, r, data) .. ',"reason":"' .. reason .. '"'
  local audience = shown(r, '!', -1, present)
  if present == 0 and not linger then
    -- include: _finish
    publish(compose('leave', peer, r.conn, audience, extra, body))
    finish('empty', '-', '""')
    return 1
  end
  if data then redis.call('HDEL', P, peer) end
  if asked or kept then redis.call('HDEL', V, 'a/' .. peer, 'k/' .. peer) end
  if kept and #kept > 0 then redis.call('HINCRBY', S, 'kb', num(-#kept)) end
  if linger then redis.call('ZADD', DUE, num(now + linger), 'empty/' .. ROOM) end
  if #held > 0 then let_go(peer, held) end
  emit('leave', peer, r.conn, audience, extra, body)
  if audience == '0' then unseen = unseen - 1 end
  if data or audience == '0' then
    commit('hid', num(unseen), 'db', num(databytes - (data and #data or 0)))
  else
    commit()
  end
  return 0
end
