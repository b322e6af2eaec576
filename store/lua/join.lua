-- include: _keys _event _check_log _record
-- join: a peer becomes a member, or its newer connection takes it over. The first member begins the session.
-- KEYS: the room's.
-- ARGV: 1 room, 2 nonce, 3 peer, 4 user (JSON string), 5 role, 6 name (JSON string, '' if not given),
--   7 data (JSON string, '' if not given), 8 groups (with commas), 9 conn, 10 incarnation, 11 flags, 12 lease (ms or ''),
--   13 session_id and 14 epoch of a new session, the former '' if the connection has joined already: then nothing happens
--   unless it is the peer's still, 15 how many peers to return,
--   16 what is kept of watched keys (patterns with newlines between; '' none), or '*' if this is the return of a 100ms client,
--   17 the last moment at which it may happen (ms, 0: any), 18… watched keys (see _watch). On a return nothing happens unless the peer is a member; role, name, data, groups and what
--   it watches are as they were, and what peers it is given are all, or none in a large room.
-- Returns: {'lapsed'} (the incarnation was ended), {'late', now} (its moment has passed), {'superseded'} (the connection is not the peer's any more),
--   {'peer_exists'}, {'room_closed'}, {'too_many'}, {'too_large'}, or for a
--   return {'absent'} or {'timed_out'} (it is none any more, since not long ago), or {'ok', session, epoch, started_at, seq, n,
--   peer_count, taken over (0/1), expires_at ('' without a lease), own record, own data, {peer, record, data, …}, {key, entry, …},
--   what it watches, {leave, …} (on a return: the last leaves of those who have left since it joined, newest first)}.
local PEER, USER, NAME, DATA, CONN, FLAGS, LEASE = ARGV[3], ARGV[4], ARGV[6], ARGV[7], ARGV[9], ARGV[11], ARGV[12]
local INC = LEASE == '' and ARGV[10] or ''
local PLACE, BACK = ROOM .. '/' .. PEER, ARGV[16] == '*'
-- One that slept on its way until its node was given up would leave a peer that nobody ever ends.
if LEASE == '' and not redis.call('ZSCORE', NODES, INC) then return {'lapsed'} end
-- One that slept until its caller gave up would take over whom that caller's client has become since.
if ARGV[17] ~= '0' and now > tonumber(ARGV[17]) then return {'late', now} end
local rec, present = redis.call('HGET', C, PEER), redis.call('HLEN', C)
local r = rec and unpack_record(rec)
-- include: _rate(clock, r and r.user == USER and OWN_RATES or #KEYS - 2)
local unseen, before = tonumber(state.hid or 0), tonumber(state.db or 0)
local hidden, databytes, started = unseen, before, state.at
local joins, peak = tonumber(state.pc or 0), tonumber(state.pk or 0) -- hidden peers are in neither
-- No wrong type: see _check_log. Of a new peer the first write is to USERS.
if present == 0 or LEASE ~= '' or r and r.inc == '' then redis.call('ZCARD', DUE) end
local HIDE = string.find(FLAGS, 'h', 1, true)
local olddata = (databytes > 0 or DATA ~= '""' and DATA ~= '') and redis.call('HGET', P, PEER)
if DATA == '""' then DATA = false elseif DATA == '' then DATA = olddata end

local some = redis.call('EXISTS', GONE, V, R) > 0 -- most rooms have none of them
local gone = some and (BACK or not r) and redis.call('HGET', GONE, PLACE)
if BACK and (not r or r.user ~= USER) then
  -- include: _gone
  return {gone_lately(gone, USER) and 'timed_out' or 'absent'}
end
if ARGV[13] == '' and (not r or r.conn ~= CONN) then return {'superseded'} end
if r and r.user ~= USER then return {'peer_exists'} end
local kept = some and r and redis.call('HGET', V, 'k/' .. PEER) or ''
local watches, keep = BACK and kept or ARGV[16], nil
if watches ~= kept then
  -- include: _keep
  local bytes, over = kept_bytes(watches, kept)
  if over then return {'too_large'} end
  keep = function() keep_watched(PEER, watches, kept, bytes) end
end
if not r then
  local most = MAX_PEERS
  if some then
    -- include: _room
    local held = redis.call('HMGET', R, 'shut', 'max')
    if setting(held[1]) then return {'room_closed'} end
    most = math.min(setting(held[2]) or MAX_PEERS, MAX_PEERS)
  end
  if present >= most then return {'too_many'} end
  -- include: _user_most
end
databytes = databytes - (olddata and #olddata or 0) + (DATA and #DATA or 0)
if databytes > MAX_DATA and DATA and DATA ~= olddata then return {'too_large'} end

-- No check comes after this line.
if not r then redis.call('ZADD', USERS, 0, USER .. '\n' .. PLACE) end
if not session then
  session, epoch, started = ARGV[13], ARGV[14], num(now)
  redis.call('HSET', S, 'id', session, 'ep', epoch, 'at', started)
  redis.call('ZADD', ROOMS, started, ROOM)
  redis.call('HSET', SUMS, session, ROOM)
elseif present == 0 then
  redis.call('ZREM', DUE, 'empty/' .. ROOM) -- it has lingered until now
end
local replaced, changed
local began = ''
if seq == 0 then began = ' ' .. session end
if r then
  replaced, changed = r.conn, (NAME ~= '' and NAME ~= r.name) or DATA ~= olddata
  if NAME ~= '' then r.name = NAME end
  if r.inc == '' then
    redis.call('ZREM', DUE, 'peer/' .. PLACE)
  elseif r.inc ~= INC or ARGV[13] == '' then -- a deletion is first, so that who comes back can when memory is full
    redis.call('SREM', SERVED .. r.inc, PLACE)
  end
  r.conn, r.inc = CONN, INC
  r.flags = string.gsub(r.flags, 'i', '') .. string.gsub(FLAGS, 'h', '')
else
  if NAME == '' then NAME = '""' end
  local role = some and redis.call('HGET', V, 'u/' .. USER) or ARGV[5] -- one that the user was given wins
  r = {conn = CONN, user = USER, role = role, groups = ARGV[8], name = NAME, inc = INC, flags = FLAGS,
    lease = '', joined = at, seq = coming}
  present = present + 1
  if HIDE then hidden = hidden + 1 end
  if gone then redis.call('HDEL', GONE, PLACE) end
end
local expires = ''
if LEASE ~= '' then
  expires = num(now + tonumber(LEASE))
  redis.call('ZADD', DUE, expires, 'peer/' .. PLACE)
else
  redis.call('SADD', SERVED .. INC, PLACE)
end
r.lease = LEASE
local own = pack_record(r)
redis.call('HSET', C, PEER, own)
if DATA ~= olddata then
  if DATA then redis.call('HSET', P, PEER, DATA) else redis.call('HDEL', P, PEER) end
end
if keep then keep() end
local left = {}
if BACK then
  -- missed_leaves returns, newest first, the last leaves since a peer joined of those who are not seen as members any more.
  local function missed_leaves(own)
    local out, met = {}, {}
    local first = math.max(tonumber(own.seq) - (seq - redis.call('LLEN', L)), 0)
    local texts = redis.call('LRANGE', L, num(first), '-1')
    for i = #texts, 1, -1 do
      local peer = string.match(texts[i], '^[^\n]*\nleave %d+ (%S+) ')
      if peer and not met[peer] then
        met[peer] = true
        local there = redis.call('HGET', C, peer)
        if not there or string.find(unpack_record(there).flags, 'h', 1, true) then out[#out + 1] = texts[i] end
      end
    end
    return out
  end
  left = missed_leaves(r)
end
local audience, extra, body
-- include: _seen(PEER, r, DATA, replaced and '*' or '!', not replaced and 1, present)
if replaced then
  -- include: _emits
  emit('conn', PEER, replaced, '0', extra, '')
  if changed then emit('update', PEER, CONN, audience, extra, body) end
else
  -- include: _emit('join', PEER, CONN, audience, extra .. began, body)
end
local count = present - hidden
if not replaced and not HIDE then
  joins, peak = joins + 1, math.max(peak, count)
end
if hidden ~= unseen or databytes ~= before then
  redis.call('HSET', S, 'hid', num(hidden), 'db', num(databytes))
end
-- include: _commit('pc', num(joins), 'pk', num(peak))

-- At most that many others, whichever a scan meets first; a scan of a small room returns all of it. On a return all of them: the
-- client takes for gone whom the list has not.
local others, want = {}, tonumber(ARGV[15])
local large = count > LARGE_ROOM
if BACK then want = large and 0 or present elseif large then want = math.min(want, LARGE_LIST) end
local cursor = want > 0 and '0'
while cursor do
  local scan = redis.call('HSCAN', C, cursor, 'COUNT', num(want))
  local found = scan[2]
  cursor = BACK and scan[1] ~= '0' and scan[1]
  for i = 1, #found, 2 do
    if #others >= 3 * (want - 1) then break end
    if found[i] ~= PEER and (hidden == 0 or not string.find(unpack_record(found[i + 1]).flags, 'h', 1, true)) then
      others[#others + 1] = found[i]
      others[#others + 1] = found[i + 1]
      others[#others + 1] = databytes > 0 and redis.call('HGET', P, found[i]) or ''
    end
  end
end
local entries = {}
if BACK or ARGV[18] then
  -- include: _watch
  entries = BACK and watched_by(kept) or watched(18)
end
return {'ok', session, epoch, started, seqtext, last, num(count), replaced and 1 or 0, expires,
  own, DATA or '', others, entries, watches, left}
