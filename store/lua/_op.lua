-- What _once does with an op_id. OA and OB take turns every OP_AGE: OA takes what is new, OB keeps what came before, so each
-- op_id is remembered for OP_AGE at least. S has in turn since when, in old how many are in OB.
local times = redis.call('HMGET', S, 'turn', 'old')
local turn, old = tonumber(times[1] or 0), tonumber(times[2] or 0)
first = redis.call('HGET', OA, OP) or old > 0 and redis.call('HGET', OB, OP)
if not first then
  local kept = redis.call('HLEN', OA)
  if now - turn < OP_AGE then kept = kept + old end
  if kept >= MAX_OPS then return {'too_many_ops'} end
  remember = function(result)
    if now - turn >= OP_AGE then
      old = redis.call('HLEN', OA)
      redis.call('UNLINK', OB)
      if old > 0 then redis.call('RENAME', OA, OB) end
      redis.call('HSET', S, 'turn', num(now), 'old', num(old))
    end
    redis.call('HSET', OA, OP, result)
  end
end
