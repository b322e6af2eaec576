-- Changing metadata entries. Needs _event, _time and _entry.

-- data_of returns the value in an entry's record.
local function data_of(rec) return string.sub(rec, string.find(rec, '\n', 1, true) + 1) end

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

-- put writes an entry, by the change that comes next.
local function put(key, oldexp, oldowner, data, by, exp, owner)
  redis.call('HSET', M, key, entry_record(data, by, exp, owner))
  settle(key, oldexp, oldowner, exp, owner)
end

-- drop removes an entry.
local function drop(key, old)
  local _, exp, owner = head_of(old)
  redis.call('HDEL', M, key)
  if exp ~= '-' then redis.call('ZREM', X, 'k/' .. key) end
  if owner ~= '-' then redis.call('ZREM', W, owner .. '/k/' .. key) end
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
      drop(key, rec)
      bytes = bytes + weight(key, rec)
      gone[#gone + 1] = key
      jsons[#jsons + 1] = entry_json(key, nil, '-', '-', '-', why)
    end
  end
  if #gone == 0 then return end
  metabytes = metabytes - bytes
  redis.call('HSET', S, 'mb', num(metabytes))
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
