-- include: _sum_read
-- sum_list: some of a partition's sessions, either the live or the ended ones, the newest first.
-- KEYS: 1 rooms, 2 sums, 3 ended, 4 no key (keyspace.whole).
-- ARGV: 1 'live' or 'ended', 2 room ('' for all), 3 and 4 the time and the name in the index after which the page begins
--   ('' for the first), 5 how many at most.
-- Returns: {time in the index, name there, session, summary, peer_count, …}.
local LIVE, ROOM, AT, AFTER, LIMIT = ARGV[1] == 'live', ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local index = LIVE and ROOMS or ENDED
local start = 0
if AFTER ~= '' then
  start = redis.call('ZREVRANK', index, AFTER)
  -- What the last page ended with may be gone: then from those of the same time on, of which some may come twice.
  start = start and start + 1 or redis.call('ZCOUNT', index, '(' .. AT, '+inf')
end
local out, found = {}, 0
while found < LIMIT do
  local page = redis.call('ZREVRANGE', index, start, start + LIMIT - 1, 'WITHSCORES')
  if #page == 0 then break end
  start = start + #page / 2
  for i = 1, #page, 2 do
    local id = page[i]
    if LIVE then id = redis.call('HGET', BASE .. 's:' .. id, 'id') end
    local rec, count
    if id and (not LIVE or ROOM == '' or ROOM == page[i]) then rec, count = summary(id) end
    if rec and (ROOM == '' or ROOM == string.match(rec, '^%S+')) then
      for _, v in ipairs({page[i + 1], page[i], id, rec, count}) do out[#out + 1] = v end
      found = found + 1
      if found == LIMIT then break end
    end
  end
end
return out
