-- include: _keys _reader
-- list: a page of metadata entries in the order of their keys.
-- KEYS: the room's.
-- ARGV: 1 session ('' if any), 2 prefix, 3 the key after which the page begins ('' for the first), 4 how many at most.
-- Returns: {refusal} or the header of _reader, {key, entry, …} and 1 if there are more.
if refusal then return {refusal} end
local prefix, after, limit = ARGV[2], ARGV[3], tonumber(ARGV[4])
local keys = {}
for _, k in ipairs(redis.call('HKEYS', M)) do
  if string.sub(k, 1, #prefix) == prefix and k > after then keys[#keys + 1] = k end
end
table.sort(keys)
local page = {}
for i = 1, math.min(limit, #keys) do
  page[#page + 1] = keys[i]
  page[#page + 1] = redis.call('HGET', M, keys[i])
end
local out = header()
out[#out + 1] = page
out[#out + 1] = #keys > limit and 1 or 0
return out
