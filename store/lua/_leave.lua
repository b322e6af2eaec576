-- How a membership ends, and the session with its last member. Needs _event and _record. It is given the peer, its record, the
-- reason, by whom and a free text, and says in `ended` whether the session ended with it: 1, else 0.
local peer, r, reason, by, text = ...
local present = redis.call('HLEN', C) - 1
local held, asked, kept = {}, nil, nil
if redis.call('EXISTS', W, V) > 0 then -- most rooms have neither
  -- The range by name of all that begins with the peer and a slash: '0' comes right after '/'.
  held = redis.call('ZRANGEBYLEX', W, '[' .. peer .. '/', '(' .. peer .. '0')
  asked, kept = unpack(redis.call('HMGET', V, 'a/' .. peer, 'k/' .. peer)) -- see _role and _keep
end
local databytes = tonumber(state.db or 0)
local data = databytes > 0 and redis.call('HGET', P, peer)
-- No wrong type: see _check_log. Of USERS the first write tells.
if r.inc ~= '' then redis.call('SCARD', SERVED .. r.inc) else redis.call('ZCARD', DUE) end
if #held > 0 then
  -- include: _check_times
end
local linger
if present == 0 then
  -- include: _room
  redis.call('ZCARD', DUE)
  linger = setting(redis.call('HGET', R, 'linger'))
end
local seat = ROOM .. '/' .. peer
redis.call('ZREM', USERS, r.user .. '\n' .. seat)
redis.call('HDEL', C, peer)
if r.inc ~= '' then
  redis.call('SREM', SERVED .. r.inc, seat)
else
  redis.call('ZREM', DUE, 'peer/' .. seat)
end
local audience, extra, body
-- include: _seen(peer, r, data, '!', -1, present)
extra = reason .. ' ' .. by .. ' ' .. text
local tail = ',"reason":"' .. reason .. '"'
if present == 0 and not linger then
  ended = 1
  -- include: _tell('leave', peer, r.conn, audience, extra, body, tail)
  -- include: _finish('empty', '-', '""')
else
  ended = 0
  if data then redis.call('HDEL', P, peer) end
  if asked or kept then redis.call('HDEL', V, 'a/' .. peer, 'k/' .. peer) end
  if kept and #kept > 0 then redis.call('HINCRBY', S, 'kb', num(-#kept)) end
  if linger then redis.call('ZADD', DUE, num(now + linger), 'empty/' .. ROOM) end
  if #held > 0 then
    -- include: _let_go
  end
  -- include: _emit('leave', peer, r.conn, audience, extra, body, tail)
  if data or audience == '0' then
    if data then state.db = num(databytes - #data) end
    if audience == '0' then state.hid = num(state.hid - 1) end
    -- include: _commit('hid', state.hid or '0', 'db', state.db or '0')
  else
    -- include: _commit()
  end
end
