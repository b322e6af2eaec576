-- Metadata entries. Needs _event and _writer. An entry in M is "<change_version> <updated_at> <updated_by or ->", a newline, and the value.

-- data_of returns the value in an entry's record.
local function data_of(rec) return string.sub(rec, string.find(rec, '\n', 1, true) + 1) end

-- weight is what an entry counts for the session's metadata limit.
local function weight(key, rec)
  if not rec then return 0 end
  return #key + #rec - string.find(rec, '\n', 1, true)
end

local function version_of(rec)
  if not rec then return '0' end
  return string.match(rec, '^%d+')
end

-- new_record is the entry of the change that comes next.
local function new_record(data) return num(seq + 1) .. ' ' .. num(now) .. ' ' .. BY .. '\n' .. data end

-- entry_json is the entry, or its deletion (data nil), as that change tells it; hearth.Entry.AppendJSON writes the same.
local function entry_json(keyjson, data)
  local by = ''
  if PEER ~= '' then by = ',"updated_by":"' .. PEER .. '"' end
  return '{"key":' .. keyjson .. ',"data":' .. (data or 'null,"deleted":true') .. ',"change_version":' .. num(seq + 1)
    .. by .. ',"updated_at":' .. num(now) .. '}'
end

-- emit_meta tells of entries: keys and their JSON, in the same order.
local function emit_meta(keys, jsons)
  local cuts = {}
  for i = 1, #keys do cuts[i] = #jsons[i] .. ' ' .. keys[i] .. '\n' end
  emit('meta', BY, '-', '*', tostring(#keys), table.concat(cuts) .. table.concat(jsons, ','))
end
