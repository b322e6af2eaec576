-- The nodes are told of a change that the log doesn't keep. Needs _event.
local kind, peer, conn, audience, extra, body, more, rest = ...
-- include: _compose
redis.call(PUBLISH, E, text)
-- include: _next
