-- include: _keys _event _check_log _room _room_reply
-- room_put: change what a room keeps beyond its sessions. A server may do so without a session.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3…7 fence, 8 until (ms; '' not given, '-' the default), 9 shut, 10 linger (ms), 11 max peers (of each
--   '' keeps it, 0 takes it away), 12 the default of until: how long (ms).
-- Returns: {refusal}, {'past'} (until is) or what _room_reply says.
if ARGV[3] ~= '' or ARGV[4] ~= '' then
  -- include: _writer
end
local UNTIL, GIVEN = ARGV[8], {shut = ARGV[9], linger = ARGV[10], max = ARGV[11]}
local till = num(tonumber(UNTIL) or now + tonumber(ARGV[12]))
if tonumber(till) <= now then return {'past'} end

local texts = settings()
local some = ARGV[9] .. ARGV[10] .. ARGV[11] ~= ''
for _, name in ipairs(SETTINGS) do
  local given = GIVEN[name]
  if given == '' and UNTIL ~= '' and not some then -- until alone is for all that there is
    local value = setting(texts[name])
    given = value and num(value) or ''
  end
  if given == '0' then
    texts[name] = nil
  elseif given ~= '' then
    texts[name] = given .. ' ' .. till
  end
end
keep_settings(texts)
if GIVEN.linger ~= '' and redis.call('ZSCORE', DUE, EMPTY_ITEM) then -- a session that lingers does so anew
  redis.call('ZADD', DUE, num(now + tonumber(GIVEN.linger)), EMPTY_ITEM)
end
return room_reply()
