-- Who was in a session that ended for all. Needs _keys.

-- dead_key is the key to which C is renamed then: its partition's, see keys.go. What else names these
-- peers is removed from there on, some at a time, so that an end costs the same however many there are.
local function dead_key(session) return BASE .. 'dead:' .. session end
