-- include: _keys _reader
-- list: a page of metadata entries in the order of their keys' bytes; a page that is the first and the last is in no order.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any), 2 prefix, 3 the key after which the page begins ('' for the first), 4 how many at most.
-- Returns: {refusal} or the header of _reader, {key, entry, …} and 1 if there are more.
local prefix, limit = ARGV[2], tonumber(ARGV[4])

local keys, order, key_of = {}, {}, {}
for _, key in ipairs(redis.call('HKEYS', M)) do
  if string.sub(key, 1, #prefix) == prefix then keys[#keys + 1] = key end
end
if ARGV[3] ~= '' or #keys > limit then -- else all of them are the page, and the caller sorts it
  -- Keys are compared in hexadecimal: strings compare by the server's locale here, which would be another order on every
  -- server, and the order of bytes in none but C. Digits and the letters a to f have the same order everywhere.
  local HEX = {}
  for byte = 0, 255 do HEX[string.char(byte)] = string.format('%02x', byte) end
  local function hex(key) return (string.gsub(key, '.', HEX)) end
  local after = hex(ARGV[3])
  for _, key in ipairs(keys) do
    local text = hex(key)
    if text > after then
      order[#order + 1] = text
      key_of[text] = key
    end
  end
  table.sort(order)
  keys = {}
  for i = 1, #order do keys[i] = key_of[order[i]] end
end
local page = {}
for i = 1, math.min(limit, #keys) do
  page[#page + 1] = keys[i]
  page[#page + 1] = redis.call('HGET', M, keys[i])
end
out[#out + 1] = page
out[#out + 1] = #keys > limit and 1 or 0
return out
