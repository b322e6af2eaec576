-- The records of metadata entries. Needs _event. An entry in M is "<change_version> <updated_at> <updated_by> <expires_at>
-- <owner>" with - for none, a newline, and the value.
local HEAD = '^(%d+) %d+ %S+ (%S+) (%S+)\n'

-- head_of returns an entry's change_version, expires_at and owner.
local function head_of(rec)
  if not rec then return '0', '-', '-' end
  return string.match(rec, HEAD)
end

-- weight is what an entry counts for the session's metadata limit.
local function weight(key, rec)
  if not rec then return 0 end
  return #key + #rec - string.find(rec, '\n', 1, true)
end

-- entry_record is what M has of an entry that is written by the change that comes next.
local function entry_record(data, by, exp, owner)
  return upcoming() .. ' ' .. at .. ' ' .. by .. ' ' .. exp .. ' ' .. owner .. '\n' .. data
end

-- quoted is a key as a JSON string: of what has to be escaped in one, a key can have only these two.
local function quoted(key) return '"' .. string.gsub(key, '(["\\])', '\\%1') .. '"' end

-- entry_json is the entry, or its deletion (data nil), as the change that comes next tells it; hearth.Entry.AppendJSON
-- writes the same.
local function entry_json(key, data, by, exp, owner, why)
  local json = '{"key":' .. quoted(key) .. ',"data":' .. (data or 'null,"deleted":true')
  if why then json = json .. ',"reason":"' .. why .. '"' end
  json = json .. ',"change_version":' .. upcoming()
  if by ~= '-' then json = json .. ',"updated_by":"' .. by .. '"' end
  json = json .. ',"updated_at":' .. at
  if exp ~= '-' then json = json .. ',"expires_at":' .. exp end
  if owner ~= '-' then json = json .. ',"owner":"' .. owner .. '"' end
  return json .. '}'
end
