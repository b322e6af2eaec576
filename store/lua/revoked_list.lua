-- include: _partition
-- revoked_list: some revocations, those first that are over last.
-- KEYS: 1 due, 2 no key (keyspace.whole).
-- ARGV: 1 id ('' for all), 2 and 3 when the one was over after which the page begins, and its id ('' for the first), 4 how many
--   at most.
-- Returns: {when it is over, id, record, …}.
local ID, AT, AFTER, LIMIT = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local page
if ID ~= '' then
  page = {ID, redis.call('ZSCORE', LAPSES, ID) or 0}
else
  local start = 0
  if AFTER ~= '' then
    -- What the last page ended with may be gone, or be over later: then from those of the same time on, of which some may come
    -- twice.
    local till = redis.call('ZSCORE', LAPSES, AFTER)
    start = till and tonumber(till) == tonumber(AT) and redis.call('ZREVRANK', LAPSES, AFTER) + 1 or redis.call('ZCOUNT', LAPSES, '(' .. AT, '+inf')
  end
  page = redis.call('ZREVRANGE', LAPSES, start, start + LIMIT - 1, 'WITHSCORES')
end
local out = {}
for i = 1, #page, 2 do
  local record = redis.call('HGET', REVOKED, page[i])
  if record and tonumber(page[i + 1]) > now then
    for _, v in ipairs({page[i + 1], page[i], record}) do out[#out + 1] = v end
  end
end
return out
