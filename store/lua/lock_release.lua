-- include: _keys _event _check_log _record _writer _once _check_times _emits _time _lock
-- lock_release: the holder of a lock gives it up; who waits first is given it.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 lock, 9 its token, 10 the holder ('' for any).
-- Returns: {refusal}, {'lock_lost', lock, its record or false} or {'ok', session}.
local NAME, HOLDER = ARGV[8], ARGV[10]
if first then return {'ok', session} end
local l = current(NAME)
if not l or l.token ~= ARGV[9] or HOLDER ~= '' and l.peer ~= HOLDER then
  return refuse('lock_lost', NAME, l and l.rec)
end
free(l, 'released')
commit()
if remember then remember(seqtext) end
return {'ok', session}
