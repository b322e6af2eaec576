-- Refuses a user's peer beyond the most that it may have in the room. Needs _record. USERS may have more than there are, so if
-- it says that they are too many each is looked at.
local mine, count = USER .. '\n' .. ROOM, 0
local from, to = '[' .. mine .. '/', '(' .. mine .. '0' -- see _leave
if redis.call('ZLEXCOUNT', USERS, from, to) >= MAX_USER_PEERS then
  for _, member in ipairs(redis.call('ZRANGEBYLEX', USERS, from, to)) do
    local there = redis.call('HGET', C, string.sub(member, #mine + 2))
    if there and unpack_record(there).user == USER then count = count + 1 end
  end
end
if count >= MAX_USER_PEERS then return {'too_many_of_user'} end
