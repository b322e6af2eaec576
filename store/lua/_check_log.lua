-- A key of a wrong type, which is not ours, has to end a script before its first write. So what is written and not read
-- before is looked at by the part that writes it: here the log, and the index that names it if it has been empty. Needs _keys.
if redis.call('LLEN', L) == 0 then redis.call('ZCARD', DUE) end
