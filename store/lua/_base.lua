-- The partition's own keys that most scripts don't touch; see keys.go. Needs DUE.
local BASE = string.sub(DUE, 1, -4)
local NODES, BEAT, GONE = BASE .. 'nodes', BASE .. 'beat', BASE .. 'gone'

-- served is the key of the set of who has a socket at an incarnation of a node, as <room>/<peer>.
local function served(inc) return BASE .. 'node:' .. inc end
