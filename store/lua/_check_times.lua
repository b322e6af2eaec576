-- What has locks, or entries that end or are owned, may write all of these; most rooms have none. No wrong type: see
-- _check_log.
if redis.call('EXISTS', K, W, X) > 0 then
  redis.call('HLEN', K)
  for _, key in ipairs({W, X, DUE}) do redis.call('ZCARD', key) end
end
