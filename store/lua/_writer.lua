-- The fence of a write and the memory of its op_id. Needs _event and _record.
-- ARGV[3..7]: session ('' if any), peer ('' for a server), conn, user (JSON string; '' if a server acts by a peer's conn),
-- a newline and the role by which the write was allowed ('' if it needs no permission), op ('' for none).
local SESSION, PEER, CONN, OP = ARGV[3], ARGV[4], ARGV[5], ARGV[7]
local USER, ROLE = string.match(ARGV[6], '^([^\n]*)\n(.*)$')
local writer                      -- the writing peer's record
local BY = PEER ~= '' and PEER or '-'

-- fence returns why the write is refused, or nil: the session has to be the live one, the connection the peer's, and its
-- role the one by which the write was allowed; else "role_changed <role>" says which it is.
local function fence()
  if not session then return SESSION ~= '' and 'session_ended' or 'no_session' end
  if SESSION ~= '' and SESSION ~= session then return 'session_ended' end
  if PEER == '' then return nil end
  local rec = redis.call('HGET', C, PEER)
  if not rec then return 'not_member' end
  local r = unpack_record(rec)
  if r.conn ~= CONN or (USER ~= '' and r.user ~= USER) then return 'not_member' end
  if ROLE ~= '' and ROLE ~= r.role then return 'role_changed ' .. r.role end
  writer = r
  return nil
end

-- OA and OB take turns every OP_AGE: OA takes what is new, OB keeps what came before, so each op_id is remembered for
-- OP_AGE at least. S has in turn since when, in old how many are in OB.
local turn

-- repeated returns the first result of this op_id, or nil and why the op_id can't be taken.
local function repeated()
  if OP == '' then return nil end
  local first = redis.call('HGET', OA, OP)
  if first then return first end
  local old = tonumber(state[12] or 0)
  if old > 0 then
    first = redis.call('HGET', OB, OP)
    if first then return first end
  end
  turn = tonumber(state[10] or 0)
  local kept = redis.call('HLEN', OA)
  if now - turn < OP_AGE then kept = kept + old end
  if kept >= MAX_OPS then return nil, 'too_many_ops' end
  return nil
end

-- remember keeps the result of this op_id. It writes, so it comes after all checks.
local function remember(result)
  if OP == '' then return end
  if now - turn >= OP_AGE then
    local old = redis.call('HLEN', OA)
    redis.call('UNLINK', OB)
    if old > 0 then redis.call('RENAME', OA, OB) end
    redis.call('HSET', S, 'turn', num(now), 'old', num(old))
  end
  redis.call('HSET', OA, OP, result)
end
