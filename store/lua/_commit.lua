-- How every script ends that has emitted: the log is trimmed and the session's state written, together with the fields of S that
-- are given as field, value, and so on. Needs _event.
if loglen == composed then redis.call('ZADD', DUE, num(now + LOG_AGE), 'log/' .. ROOM) end
if loglen >= LOG_EVENTS + LOG_SLACK then
  local old = redis.call('LPOP', L, num(loglen - LOG_EVENTS))
  for i = 1, #old do logbytes = logbytes - #old[i] end
  loglen = LOG_EVENTS
end
while logbytes > LOG_BYTES and loglen > 1 do
  logbytes = logbytes - #redis.call('LPOP', L)
  loglen = loglen - 1
end
redis.call('HSET', S, 'seq', seqtext, 'n', last, 'lb', num(logbytes), ...)
