-- include: _keys _event _check_log _record _writer _once _check_times _emits _time _lock
-- lock_acquire: a peer takes a lock, or waits for it. The holder who takes it again extends it: same token, no change.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 lock, 9 ttl (ms), 10 how long to wait (ms, 0: not at all), 11 the holder to be, 12 the
--   patterns that it binds, each with a newline after it, 13 '1' if such were given (else a holder keeps what it has).
-- Returns: {refusal}, {'not_found'} (no such peer), {'too_many'}, {'lock_held', lock, its record}, {'waiting', session, the
--   lowest token that its holding can have} or {'ok', session, "<token> <expires_at>"}.
local NAME, TTL, WAIT, HOLDER, PATTERNS = ARGV[8], ARGV[9], tonumber(ARGV[10]), ARGV[11], ARGV[12]
redis.call('ZCARD', DUE) -- no wrong type: see _check_log
if first then return {'ok', session, first} end
local rec = redis.call('HGET', C, HOLDER)
if not rec then return {'not_found'} end

local function granted(l)
  flush()
  local result = l.token .. ' ' .. l.expires
  if remember then remember(result) end
  return {'ok', session, result}
end

local l = current(NAME)
if l and l.peer == HOLDER then
  l.ttl, l.expires = TTL, num(now + tonumber(TTL))
  if ARGV[13] == '1' then l.keys = PATTERNS end
  keep_lock(l)
  return granted(l)
end
if not l then
  if redis.call('HLEN', K) >= MAX_LOCKS then return refuse('too_many') end
  return granted(hold(NAME, HOLDER, TTL, PATTERNS))
end
if WAIT == 0 then return refuse('lock_held', NAME, l.rec) end

-- One place in the queue a peer: who asks again keeps it, unless it was another connection's.
local r, deadline = unpack_record(rec), now + WAIT
local from, to = between(HOLDER .. '/q/' .. NAME)
local place = redis.call('ZRANGEBYLEX', W, from, to)[1]
if place then
  place = string.sub(place, #HOLDER + 4)
  local w = waiter(place)
  if w.conn == r.conn then
    deadline = math.max(deadline, tonumber(w.deadline))
  else
    unqueue(place, HOLDER)
    place = nil
  end
else
  from, to = between(NAME)
  if redis.call('ZLEXCOUNT', Q, from, to) >= MAX_WAITERS then return refuse('too_many') end
end
if not place then
  place = NAME .. '/' .. string.format('%016.0f', redis.call('HINCRBY', S, 'tickets', 1))
  redis.call('ZADD', Q, 0, place)
  redis.call('ZADD', W, 0, HOLDER .. '/q/' .. place)
end
redis.call('HSET', Z, place, HOLDER .. ' ' .. r.conn .. ' ' .. num(deadline) .. ' ' .. TTL .. ' ' .. r.role .. '\n'
  .. OP .. '\n' .. PATTERNS)
flush()
return {'waiting', session, coming}
