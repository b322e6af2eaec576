-- What a room keeps beyond its sessions, in R: shut (1), linger (ms) and max (peers), each as "<value> <until>". Needs _event.
local SETTINGS, ROOM_ITEM, EMPTY_ITEM = {'shut', 'linger', 'max'}, 'room/' .. ROOM, 'empty/' .. ROOM

-- setting returns the value in a field of R and until when it holds; nothing if it holds no more.
local function setting(text)
  local value, till = string.match(text or '', '^(%d+) (%d+)$')
  if value and tonumber(till) > now then return tonumber(value), tonumber(till) end
end

-- keep_settings makes of the texts by field all that the room keeps, until each is over.
local function keep_settings(texts)
  redis.call('ZCARD', DUE) -- no wrong type: see _check_log
  local first
  for _, name in ipairs(SETTINGS) do
    local _, till = setting(texts[name])
    if not till then redis.call('HDEL', R, name) end
    if till and (not first or till < first) then first = till end
  end
  if not first then return redis.call('ZREM', DUE, ROOM_ITEM) end
  for _, name in ipairs(SETTINGS) do
    if setting(texts[name]) then redis.call('HSET', R, name, texts[name]) end
  end
  redis.call('ZADD', DUE, num(first), ROOM_ITEM)
end

-- settings returns the texts by field.
local function settings()
  local held, texts = redis.call('HMGET', R, unpack(SETTINGS)), {}
  for i, name in ipairs(SETTINGS) do texts[name] = held[i] end
  return texts
end
