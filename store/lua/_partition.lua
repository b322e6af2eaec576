-- What scripts about a partition begin with: Redis's clock. Scripts about a room have _event for that.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
