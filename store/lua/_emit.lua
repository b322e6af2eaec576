-- The one way in which a change is logged and published. A script whose first write this is need not have
-- _check_log. Needs _event.
local kind, peer, conn, audience, extra, body, more, rest = ...
-- include: _compose
loglen = redis.call('RPUSHX', L, text)
if loglen == 0 then
  redis.call('ZCARD', DUE) -- no wrong type: see _check_log
  loglen = redis.call('RPUSH', L, text)
end
logbytes = logbytes + #text
redis.call(PUBLISH, E, text)
