-- Changing metadata entries. Needs _emits, _time and _entry.

-- settle notes when an entry ends and whom it goes with; oldexp and oldowner are of the one that it replaces.
local function settle(key, oldexp, oldowner, exp, owner)
  if exp ~= '-' then
    ends('k/' .. key, exp)
  elseif oldexp ~= '-' then
    redis.call('ZREM', X, 'k/' .. key)
  end
  if owner ~= oldowner then
    if oldowner ~= '-' then redis.call('ZREM', W, oldowner .. '/k/' .. key) end
    if owner ~= '-' then redis.call('ZADD', W, 0, owner .. '/k/' .. key) end
  end
end

-- put writes an entry, by the change that comes next, and returns its JSON.
local function put(key, oldexp, oldowner, data, by, exp, owner)
  local rec, json, tail
  -- include: _written(key, data, by, exp, owner)
  redis.call('HSET', M, key, rec)
  settle(key, oldexp, oldowner, exp, owner)
  return json .. data .. tail
end

-- drop removes an entry, by the change that comes next, and returns the JSON of its deletion and what it counted.
local function drop(key, old, by, why)
  local _, exp, owner, from = head_of(old)
  redis.call('HDEL', M, key)
  settle(key, exp, owner, '-', '-')
  local rec, json, tail
  -- include: _written(key, nil, by, '-', '-', why)
  return json .. 'null,"deleted":true' .. tail, weight(key, old, from)
end

-- joined is table.concat for lists of any length: the embedded server can't concat thousands at once.
local function joined(list, sep)
  local parts = {}
  for i = 1, #list, 200 do parts[#parts + 1] = table.concat(list, sep, i, math.min(i + 199, #list)) end
  return table.concat(parts, sep)
end

-- emit_meta tells of entries: keys and their JSON, in the same order.
local function emit_meta(by, keys, jsons)
  local cuts = {}
  for i = 1, #keys do cuts[i] = #jsons[i] .. ' ' .. keys[i] .. '\n' end
  emit('meta', by, '-', '*', tostring(#keys), joined(cuts, '') .. joined(jsons, ','))
end

-- discard removes entries that nobody removes, all of them by one change that tells why.
local function discard(keys, why)
  local gone, jsons, bytes = {}, {}, 0
  for _, key in ipairs(keys) do
    local rec = redis.call('HGET', M, key)
    if rec then
      local json, counted = drop(key, rec, '-', why)
      bytes = bytes + counted
      gone[#gone + 1] = key
      jsons[#jsons + 1] = json
    end
  end
  if #gone == 0 then return end
  state.mb = num(state.mb - bytes)
  redis.call('HSET', S, 'mb', state.mb)
  emit_meta('-', gone, jsons)
end

-- lapse lets those of the keys that are over expire, before a write meets them.
local function lapse(keys)
  local gone
  for _, key in ipairs(keys) do
    local _, exp = head_of(redis.call('HGET', M, key))
    if over(exp) then
      gone = gone or {}
      gone[#gone + 1] = key
    end
  end
  if gone then discard(gone, 'expired') end
end

-- life returns expires_at and owner of what is written for a while (ms, '' for ever) and by a peer it goes with ('' none).
local function life(ttl, owner)
  local exp = '-'
  if ttl ~= '' then
    exp = num(now + tonumber(ttl))
    redis.call('ZCARD', DUE) -- no wrong type: see _check_log
  end
  return exp, owner ~= '' and owner or '-'
end
