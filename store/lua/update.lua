-- include: _keys _event _check_log _record _writer _once _check_times _emits _time _lock _entry _meta
-- update: several ops on metadata; all happen, with one change, or none does.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 lock and 9 its token ('' for none), then six an op: kind, key, value or number to
--   add, expected change_version ('' for any), ttl (ms or ''), owner ('' for none).
-- Returns: {refusal}, {'lock_held' or 'lock_lost', lock, its record or false}, {'not_a_number', key}, {'version_conflict',
--   session, current entry or false, key} or {'ok', session, "<seq> <at>" and a line for each op: "<expires_at or ->
--   <owner or ->" of what it wrote, and of an increment the value that it gave; - for a delete of what wasn't there; else
--   empty}. seq is 0 if nothing changed.
if first then return {'ok', session, first} end

-- What the ops lead to is worked out first: after[key] is {value (false: deleted), expires_at, owner}, order the keys as
-- they were changed.
local before, after, order, results = {}, {}, {}, {}
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

local function change(key, value, exp, owner)
  if after[key] == nil then order[#order + 1] = key end
  after[key] = {value, exp, owner}
end

local touched = {}
for i = 10, #ARGV, 6 do touched[#touched + 1] = ARGV[i + 1] end
lapse(touched)
local written = {}
for i = 10, #ARGV, 6 do
  if ARGV[i] ~= 'check' then written[#written + 1] = ARGV[i + 1] end
end
local why, lock = barred(written, PEER, ARGV[8], ARGV[9])
if why then return refuse(why, lock and lock.name, lock and lock.rec) end

for i = 10, #ARGV, 6 do
  local kind, key, value, expected, ttl = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if before[key] == nil then before[key] = redis.call('HGET', M, key) end
  local rec = before[key]
  local version, exp, owner, from = head_of(rec)
  if expected ~= '' and expected ~= version then return refuse('version_conflict', session, rec, key) end
  local is = after[key] or {rec and string.sub(rec, from), exp, owner}
  local gave = ''
  if kind == 'set' then
    exp, owner = life(ttl, ARGV[i + 5])
    change(key, value, exp, owner)
    gave = exp .. ' ' .. owner
  elseif kind == 'delete' then
    if is[1] then change(key, false, '-', '-') end
    if not rec then gave = '-' end
  elseif kind == 'increment' then
    local from, by = number_of(is[1] or '0'), number_of(value)
    local sum = from and by and from + by
    if not sum or sum > MOST or sum < -MOST then return refuse('not_a_number', key) end
    local text = sum == math.floor(sum) and num(sum) or string.format('%.17g', sum)
    if ttl ~= '' or ARGV[i + 5] ~= '' then
      exp, owner = life(ttl, ARGV[i + 5])
    else
      exp, owner = is[2], is[3]
    end
    change(key, text, exp, owner)
    gave = exp .. ' ' .. owner .. ' ' .. text
  end
  results[#results + 1] = gave
end

local metabytes = tonumber(state.mb or 0)
local bytes, keys = metabytes, redis.call('HLEN', M)
local had = keys
for _, key in ipairs(order) do
  local rec, value = before[key], after[key][1]
  local _, _, _, from = head_of(rec)
  bytes = bytes - weight(key, rec, from) + (value and #key + #value or 0)
  keys = keys + (value and 1 or 0) - (rec and 1 or 0)
end
if keys > MAX_KEYS and keys > had then return refuse('too_many') end
if bytes > MAX_METADATA and bytes > metabytes then return refuse('too_large') end

-- A key that was set and deleted again was never there: nobody is told.
local jsons, told = {}, {}
for _, key in ipairs(order) do
  if not after[key][1] and before[key] then after[key].json = drop(key, before[key], BY) end
end
for _, key in ipairs(order) do
  local value, exp, owner = unpack(after[key], 1, 3)
  if value then
    local _, oldexp, oldowner = head_of(before[key])
    after[key].json = put(key, oldexp, oldowner, value, BY, exp, owner)
  end
  if after[key].json then
    told[#told + 1] = key
    jsons[#jsons + 1] = after[key].json
  end
end
local changed = '0 0'
if #told > 0 then
  emit_meta(BY, told, jsons)
  commit('mb', num(bytes))
  changed = seqtext .. ' ' .. at
else
  flush()
end
local result = changed .. '\n' .. table.concat(results, '\n')
if remember then remember(result) end
return {'ok', session, result}
