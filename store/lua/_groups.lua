-- A peer's groups as JSON. Needs nothing.
local function groups_json(r)
  if r.groups == '' then return '[]' end
  return '["' .. string.gsub(r.groups, ',', '","') .. '"]'
end
