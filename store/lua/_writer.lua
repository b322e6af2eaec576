-- The fence of a write: the session has to be the live one, the connection the peer's, and its role the one by which the write
-- was allowed; else "role_changed <role>" says which it is. Needs _event.
-- ARGV[3..6]: session ('' if any), peer ('' for a server), conn, user (JSON string; '' if a server acts by a peer's conn),
-- a newline and the role by which the write was allowed ('' if it needs no permission).
-- include: _rate(clock, #KEYS - 2)
local SESSION, PEER = ARGV[3], ARGV[4]
local BY, writer = '-', nil -- writer: the writing peer's record
if not session then return {SESSION ~= '' and 'session_ended' or 'no_session'} end
if SESSION ~= '' and SESSION ~= session then return {'session_ended'} end
if PEER ~= '' then
  BY, writer = PEER, redis.call('HGET', C, PEER)
  if not writer then return {'not_member'} end
  -- Mostly it begins with just what is expected.
  if string.find(writer, ARGV[5] .. '\n' .. ARGV[6] .. '\n', 1, true) ~= 1 then
    local conn, user, role = string.match(writer, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n')
    local USER, ROLE = string.match(ARGV[6], '^([^\n]*)\n(.*)$')
    if conn ~= ARGV[5] or (USER ~= '' and user ~= USER) then return {'not_member'} end
    if ROLE ~= '' and ROLE ~= role then return {'role_changed ' .. role} end
  end
end
