-- include: _keys _event _peer _writer _meta
-- update: several ops on metadata; all happen, with one change, or none does.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, then five a op: kind, key, key (JSON string), value or number to add, expected change_version ('' for any).
-- Returns: {refusal}, {'not_a_number', key}, {'version_conflict', session, current entry or false, key} or
--   {'ok', session, "<seq> <at>" and a line for each op: the value that an
--   increment gave, - for a delete of what wasn't there, else empty}. seq is 0 if nothing changed.
local refusal = fence()
if refusal then return {refusal} end
local first, full = repeated()
if first then return {'ok', session, first} end
if full then return {full} end

-- What the ops lead to is worked out first: after[key] is the value (false: deleted), order the keys as they were changed.
local before, after, names, order, values = {}, {}, {}, {}, {}
-- number_of is the number in a value, or nil if it holds none or one that a double may not hold exactly.
local MOST = 2 ^ 53 - 1
local function number_of(value)
  local text = string.match(value, '^%-?[%d.eE+-]+$')
  if not text then return nil end
  -- The embedded server knows exponents only after a point.
  if not string.find(text, '.', 1, true) then text = string.gsub(text, '[eE]', '.0e') end
  local n = tonumber(text)
  if not n or n > MOST or n < -MOST then return nil end
  return n
end

local function change(key, keyjson, value)
  if after[key] == nil then
    order[#order + 1] = key
    names[key] = keyjson
  end
  after[key] = value
end
for i = 8, #ARGV, 5 do
  local kind, key, keyjson, value, expected = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if before[key] == nil then before[key] = redis.call('HGET', M, key) end
  local rec = before[key]
  if expected ~= '' and expected ~= version_of(rec) then return {'version_conflict', session, rec, key} end
  local current = after[key]
  if current == nil then current = rec and data_of(rec) end
  local gave = ''
  if kind == 'set' then
    change(key, keyjson, value)
  elseif kind == 'delete' then
    if current then change(key, keyjson, false) end
    if not rec then gave = '-' end
  elseif kind == 'increment' then
    local from, by = number_of(current or '0'), number_of(value)
    local sum = from and by and from + by
    if not sum or sum > MOST or sum < -MOST then return {'not_a_number', key} end
    gave = sum == math.floor(sum) and num(sum) or string.format('%.17g', sum)
    change(key, keyjson, gave)
  end
  values[#values + 1] = gave
end

local weighed = tonumber(redis.call('HGET', S, 'mb') or 0)
local bytes, keys = weighed, redis.call('HLEN', M)
local had = keys
for _, key in ipairs(order) do
  local rec, value = before[key], after[key]
  bytes = bytes - weight(key, rec) + (value and #key + #value or 0)
  keys = keys + (value and 1 or 0) - (rec and 1 or 0)
end
if keys > MAX_KEYS and keys > had then return {'too_many'} end
if bytes > MAX_METADATA and bytes > weighed then return {'too_large'} end

-- A key that was set and deleted again was never there: nobody is told.
local jsons, told = {}, {}
for _, key in ipairs(order) do
  local value = after[key]
  if not value and before[key] then redis.call('HDEL', M, key) end
end
for _, key in ipairs(order) do
  local value = after[key]
  if value then redis.call('HSET', M, key, new_record(value)) end
  if value or before[key] then
    told[#told + 1] = key
    jsons[#jsons + 1] = entry_json(names[key], value or nil)
  end
end
local changed = '0 0'
if #told > 0 then
  emit_meta(told, jsons)
  commit('mb', num(bytes))
  changed = num(seq) .. ' ' .. num(now)
end
local result = changed .. '\n' .. table.concat(values, '\n')
remember(result)
return {'ok', session, result}
