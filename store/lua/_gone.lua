-- Which 100ms clients have timed out lately: such a client does not join when it comes back, so it has to be told. In GONE is
-- <room>/<peer> → "<when> <user as a JSON string>". Needs now.

-- note_gone takes note of a peer that has timed out, whose record was r; kept is how many GONE has. Beyond a number no more are
-- kept: a client that is not told finds out by its next call.
local function note_gone(place, r, kept)
  if kept >= MAX_GONE or not string.find(r.flags, 'i', 1, true) then return end
  redis.call('HSET', GONE, place, num(now) .. ' ' .. r.user)
  if kept == 0 then redis.call('ZADD', DUE, num(now + GONE_TIME), 'gone') end
end

-- gone_lately reports whether what GONE has of a place is still good, and of that user if one is given.
local function gone_lately(text, user)
  local at, of = string.match(text or '', '^(%d+) (.*)$')
  return at and tonumber(at) + GONE_TIME > now and (not user or of == user)
end
