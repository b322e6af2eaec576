-- Whether a call comes sooner than it may. It is given Redis's clock and from how many buckets, KEYS from 3 on, the call takes:
-- from all of them or, if one has not enough, from none. Who comes back takes from its own only, and is not refused because
-- others are many. A bucket is the time (µs) at which it is full again, and is gone by then; `each` is in how long one call's
-- worth flows into it, `full` in how long all that it holds. Needs nothing.
if #KEYS > 2 then
  local clock, buckets = ...
  if buckets > 0 then
    local t, each, full, at, wait, which = clock[1] * 1000000 + clock[2], {RATE_EACH}, {RATE_FULL}, {}, 0, 0
    local held = redis.call('MGET', unpack(KEYS, 3, buckets + 2))
    for i = 1, buckets do
      -- One that is full later than it can be is of a clock that was ahead and has been set back.
      at[i] = math.max(math.min(tonumber(held[i] or 0), t + full[i]), t) + each[i]
      local over = at[i] - full[i] - t
      if over > wait then wait, which = over, i end
    end
    if wait > 0 then return {'rate_limited', which, math.ceil(wait / 1000)} end
    -- What can't be counted because memory is full is not refused for that: it may be what frees some.
    for i = 1, buckets do redis.pcall('SET', KEYS[i + 2], num(at[i]), 'PX', num(math.ceil((at[i] - t) / 1000))) end
  end
end
