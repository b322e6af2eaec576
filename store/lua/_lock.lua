-- Locks. Needs _emits, _record and _time. A holding in K is "<token> <peer> <expires_at> <ttl>" and a line for each pattern of
-- keys that it binds. A waiter is <lock>/<ticket> in Q, and in Z "<peer> <conn> <deadline> <ttl> <role>", its op_id and the
-- patterns.
-- The field bl of S names the locks that bind keys, a space after each.

local function lock_of(name)
  local rec = redis.call('HGET', K, name)
  if not rec then return nil end
  local l = {name = name, rec = rec}
  l.token, l.peer, l.expires, l.ttl, l.keys = string.match(rec, '^(%d+) (%S+) (%d+) (%d+)\n(.*)$')
  return l
end

-- bind notes that a lock binds keys, or that it doesn't.
local function bind(name, keys)
  local bound = state.bl or ''
  local kept = string.gsub(bound, '%S+ ', function(n) if n == name .. ' ' then return '' end end)
  if keys ~= '' then kept = kept .. name .. ' ' end
  if kept ~= bound then
    state.bl = kept
    redis.call('HSET', S, 'bl', kept)
  end
end

local function keep_lock(l)
  l.rec = l.token .. ' ' .. l.peer .. ' ' .. l.expires .. ' ' .. l.ttl .. '\n' .. l.keys
  redis.call('HSET', K, l.name, l.rec)
  ends('l/' .. l.name, l.expires)
  bind(l.name, l.keys)
end

local function emit_lock(l, is)
  emit('lock', l.peer, '-', '*', l.name .. ' ' .. is .. ' ' .. l.token .. ' ' .. l.expires,
    '"name":"' .. l.name .. '","state":"' .. is .. '","peer_id":"' .. l.peer .. '","token":' .. l.token)
end

-- hold gives a free lock to a peer, by a change of its own; keys is the patterns, each with a newline after it.
local function hold(name, peer, ttl, keys)
  local l = {name = name, peer = peer, ttl = ttl, keys = keys, token = coming, expires = num(now + tonumber(ttl))}
  keep_lock(l)
  redis.call('ZADD', W, 0, peer .. '/l/' .. name)
  emit_lock(l, 'acquired')
  return l
end

-- between are the ends of a range by name of all that begins with a prefix and a slash: '0' comes right after '/'.
local function between(prefix) return '[' .. prefix .. '/', '(' .. prefix .. '0' end

local function unqueue(place, peer)
  redis.call('ZREM', Q, place)
  redis.call('HDEL', Z, place)
  redis.call('ZREM', W, peer .. '/q/' .. place)
end

-- waiter returns who waits at a place of the queue.
local function waiter(place)
  local w = {place = place}
  w.peer, w.conn, w.deadline, w.ttl, w.role, w.op, w.keys =
    string.match(redis.call('HGET', Z, place), '^(%S+) (%S+) (%d+) (%d+) (%S+)\n([^\n]*)\n(.*)$')
  return w
end

-- hand_on gives a lock that has become free to the first who waits for it and is still there, in the role by which it was
-- let wait: what another one permits isn't known here.
local function hand_on(name)
  local from, to = between(name)
  while true do
    local place = redis.call('ZRANGEBYLEX', Q, from, to, 'LIMIT', 0, 1)[1]
    if not place then return end
    local w = waiter(place)
    unqueue(place, w.peer)
    local rec = redis.call('HGET', C, w.peer)
    local r = rec and unpack_record(rec)
    if r and r.conn == w.conn and not away(r) and r.role == w.role and not over(w.deadline) then
      local l = hold(name, w.peer, w.ttl, w.keys)
      if w.op ~= '' then redis.call('HSET', OA, w.op, l.token .. ' ' .. l.expires) end
      return
    end
  end
end

-- free ends a holding, tells why, and hands the lock on.
local function free(l, is)
  redis.call('HDEL', K, l.name)
  redis.call('ZREM', W, l.peer .. '/l/' .. l.name)
  redis.call('ZREM', X, 'l/' .. l.name)
  bind(l.name, '')
  emit_lock(l, is)
  hand_on(l.name)
end

-- current returns the lock if somebody holds it. One whose time is over ends first.
local function current(name)
  local l = lock_of(name)
  if l and over(l.expires) then
    free(l, 'expired')
    l = lock_of(name)
  end
  return l
end

-- matcher returns a function that reports whether a pattern matches one of the keys. What it costs doesn't depend on how
-- many keys there are: many locks may have many patterns.
local function matcher(keys)
  local exact, begin = {}, {} -- begin[n] has the first n bytes of each
  for i = 1, #keys do exact[keys[i]] = true end
  return function(p)
    if string.sub(p, -1) ~= '*' then return exact[p] end
    local n = #p - 1
    if not begin[n] then
      begin[n] = {}
      for i = 1, #keys do begin[n][string.sub(keys[i], 1, n)] = true end
    end
    return begin[n][string.sub(p, 1, n)]
  end
end

-- shuts reports whether somebody else's lock binds one of the keys, which matches knows.
local function shuts(l, matches, peer)
  if not l or l.peer == peer then return false end
  for p in string.gmatch(l.keys, '([^\n]+)\n') do
    if matches(p) then return true end
  end
  return false
end

-- barred returns why a write of these keys by a peer ('' a server) is refused, and the lock: lock_lost if it names a
-- holding (name, token) that isn't the current one; lock_held if a key is bound to a lock that somebody else holds.
local function barred(keys, peer, name, token)
  if name ~= '' then
    local l = current(name)
    if not l or l.token ~= token then return 'lock_lost', l end
  end
  local bound = state.bl or ''
  if bound == '' then return nil end
  local matches = matcher(keys)
  for n in string.gmatch(bound, '%S+') do
    local l = lock_of(n)
    while shuts(l, matches, peer) do
      if not over(l.expires) then return 'lock_held', l end
      l = current(n) -- whoever has it now may bind other keys
    end
  end
end
