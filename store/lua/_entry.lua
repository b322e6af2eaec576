-- Metadata entries. Needs _event. An entry in M is "<change_version> <updated_at> <updated_by> <expires_at> <owner>" with - for
-- none, a newline, and the value.

-- head_of returns an entry's change_version, expires_at and owner, and where its value begins.
local function head_of(rec)
  if not rec then return '0', '-', '-', 1 end
  return string.match(rec, '^(%d+) %d+ %S+ (%S+) (%S+)\n()')
end

-- weight is what an entry counts for the session's metadata limit, by where its value begins.
local function weight(key, rec, from)
  if not rec then return 0 end
  return #key + #rec - from + 1
end
