-- How an entry is written by the change that comes next, or removed by it (data nil): it makes `rec`, which M has of it then, and
-- `json`, `tail`, between which the change has its data; hearth.Entry.AppendJSON writes the same. Needs _event.
local key, data, by, exp, owner, why = ...
if data then rec = coming .. ' ' .. at .. ' ' .. by .. ' ' .. exp .. ' ' .. owner .. '\n' .. data end
-- Of what has to be escaped in a JSON string, a key can have only these two.
json = '{"key":"' .. string.gsub(key, '(["\\])', '\\%1') .. '","data":'
tail = (why and ',"reason":"' .. why .. '"' or '') .. ',"change_version":' .. coming
  .. (by ~= '-' and ',"updated_by":"' .. by .. '"' or '') .. ',"updated_at":' .. at
  .. (exp ~= '-' and ',"expires_at":' .. exp or '') .. (owner ~= '-' and ',"owner":"' .. owner .. '"' or '') .. '}'
