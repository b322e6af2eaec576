-- Who has a socket where, in the partition of a room or of its own; see keys.go.

-- served is the key of the set of who has a socket at an incarnation of a node, as <room>/<peer>.
local function served(inc) return SERVED .. inc end
